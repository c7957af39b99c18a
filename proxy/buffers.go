package proxy

import "sync"

// bufferPool lends the buffers through which answers are copied.
type bufferPool struct{ pool sync.Pool }

// copySize is a buffer's size: as much as a socket gives at once of an answer
// that comes fast. A slow stream's events touch its first page only, so that
// no more than that is resident.
const copySize = 32 << 10

// Get returns a buffer. ReverseProxy gives each back as it got it.
func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[copySize]byte); ok {
		return buf[:]
	}
	return make([]byte, copySize)
}

// Put takes a buffer back.
func (b *bufferPool) Put(buf []byte) { b.pool.Put((*[copySize]byte)(buf)) }
