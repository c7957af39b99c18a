package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestReadBody(t *testing.T) {
	const limit = 32 << 10
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = byte(rand.Uint32())
	}
	for _, size := range []int{0, 1, 100, firstRead - 1, firstRead, firstRead + 1, 2*firstRead + 1, limit - 1, limit, limit + 1, 2 * limit} {
		for _, chunked := range []bool{false, true} {
			for _, left := range []int{1 << 20, limit, 5000, 0} {
				var mem memory
				mem.give(left)
				r := &http.Request{ContentLength: int64(size), Body: io.NopCloser(iotest.HalfReader(bytes.NewReader(text[:size])))}
				if chunked {
					r.ContentLength = -1
				}
				b, err := mem.readBody(r, limit)
				if err != nil {
					t.Fatal(err)
				}
				if b.payload != nil && (int(mem.left.Load()) != left-b.taken || mem.left.Load() < 0 || len(b.data) > b.taken) {
					t.Errorf("%d bytes of %d: took %d for %d, %d left", size, left, b.taken, len(b.data), mem.left.Load())
				}
				// One of unknown length that just fits can't be known to have ended.
				if (size < limit || size == limit && !chunked) && left == 1<<20 && !b.whole {
					t.Errorf("%d bytes, chunked %v: not whole", size, chunked)
				}
				for range 2 {
					out := &http.Request{Body: r.Body, ContentLength: r.ContentLength}
					b.attach(out)
					var got []byte
					if out.Body != nil {
						if got, err = io.ReadAll(out.Body); err != nil || out.Body.Close() != nil {
							t.Error(err)
						}
					}
					if !bytes.Equal(got, text[:size]) {
						t.Errorf("%d bytes of %d, chunked %v: sent %d, whole %v", size, left, chunked, len(got), b.whole)
					}
					if out.ContentLength >= 0 && out.ContentLength != int64(size) {
						t.Errorf("ContentLength %d of %d", out.ContentLength, size)
					}
					if !b.whole {
						break
					}
				}
				if b.payload != nil {
					b.release()
				}
				if int(mem.left.Load()) != left || mem.kept > mostKept {
					t.Errorf("%d bytes of %d left, %d kept", mem.left.Load(), left, mem.kept)
				}
			}
		}
	}
}

func TestReadBodyFails(t *testing.T) {
	var mem memory
	mem.give(1 << 20)
	r := &http.Request{ContentLength: 100, Body: io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 50)), iotest.ErrReader(io.ErrUnexpectedEOF)))}
	if b, err := mem.readBody(r, 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) || b.payload != nil || mem.left.Load() != 1<<20 {
		t.Errorf("%v, %d left", err, mem.left.Load())
	}
}

// TestMemoryKeepsLittle: what is kept for the next body is bounded, and of no
// use to a body that is much smaller.
func TestMemoryKeepsLittle(t *testing.T) {
	var mem memory
	for n := smallBody; n <= 64<<20; n *= 2 {
		for range 4 {
			mem.recycle(make([]byte, n))
		}
		var sum int
		for _, buf := range mem.free {
			sum += cap(buf)
		}
		if mem.kept != sum || sum > mostKept {
			t.Fatalf("%d bytes kept, %d counted", sum, mem.kept)
		}
	}
	if got := mem.buffer(8 << 20); cap(got) != 8<<20 || mem.kept != 0 {
		t.Errorf("a buffer of %d, %d kept", cap(got), mem.kept)
	}
	mem.recycle(make([]byte, 1<<20))
	if got := mem.buffer(8 << 10); cap(got) != 8<<10 {
		t.Errorf("a small body got a buffer of %d", cap(got))
	}
}

// TestMemoryForgets what it keeps, once nobody has needed it for a while.
func TestMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem memory
		for range 10 {
			mem.recycle(make([]byte, 1<<20))
			time.Sleep(keepFor / 2)
			mem.mu.Lock()
			if mem.kept == 0 {
				t.Error("forgotten while in use")
			}
			mem.mu.Unlock()
		}
		time.Sleep(keepFor)
		synctest.Wait()
		mem.mu.Lock()
		defer mem.mu.Unlock()
		if mem.kept != 0 || len(mem.free) != 0 {
			t.Errorf("%d bytes are kept", mem.kept)
		}
	})
}

// TestPayloadReadToItsEnd holds no memory: HTTP/2 closes it when the answer ends.
func TestPayloadReadToItsEnd(t *testing.T) {
	var mem memory
	mem.give(1 << 20)
	r := &http.Request{ContentLength: 10 << 10, Body: io.NopCloser(bytes.NewReader(make([]byte, 10<<10)))}
	b, err := mem.readBody(r, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	in := b.open()
	b.release()
	if _, err := io.CopyN(io.Discard, in, 10<<10-1); err != nil || mem.left.Load() == 1<<20 {
		t.Errorf("before its end: %d bytes left, %v", mem.left.Load(), err)
	}
	if n, err := io.Copy(io.Discard, in); n != 1 || err != nil || mem.left.Load() != 1<<20 {
		t.Errorf("at its end: %d more, %d bytes left, %v", n, mem.left.Load(), err)
	}
	if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // readers compare it so
		t.Errorf("after its end: %d %v", n, err)
	}
	_ = in.Close()
	if mem.left.Load() != 1<<20 {
		t.Errorf("given back twice: %d", mem.left.Load())
	}
}

// TestPayloadSent: part read, part written from where it lies, in any turn.
func TestPayloadSent(t *testing.T) {
	var mem memory
	mem.give(1 << 20)
	const size = 10 << 10
	text := bytes.Repeat([]byte("0123456789"), size/10)
	b, err := mem.readBody(&http.Request{ContentLength: size, Body: io.NopCloser(bytes.NewReader(text))}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	in := b.open().(*payloadReader)
	b.release()
	var got bytes.Buffer
	for _, step := range []func() (int64, error){
		func() (int64, error) { return io.CopyN(&got, in, 1001) },
		func() (int64, error) { return in.sendTo(&got, 1002) },
		func() (int64, error) { return in.sendTo(&got, 1003) },
		func() (int64, error) { return io.CopyN(&got, in, 1004) },
		func() (int64, error) { return in.sendTo(&got, 1<<20) },
		func() (int64, error) { return in.sendTo(&got, 1<<20) },
		func() (int64, error) { return io.Copy(&got, in) },
	} {
		before := got.Len()
		if n, err := step(); err != nil || int(n) != got.Len()-before {
			t.Errorf("%d bytes, told %d, %v", got.Len()-before, n, err)
		}
	}
	if !bytes.Equal(got.Bytes(), text) || mem.left.Load() != 1<<20 {
		t.Errorf("sent %d bytes of %d, %d left", got.Len(), size, mem.left.Load())
	}
	_ = in.Close()
	if n, err := in.sendTo(&got, 1); n != 0 || err != nil {
		t.Errorf("after Close: %d %v", n, err)
	}
}

// TestPayloadClosedWhileRead: HTTP/2 closes a body in the middle of a read.
// Its memory may be another body's from then on.
func TestPayloadClosedWhileRead(t *testing.T) {
	var mem memory
	mem.give(1 << 30)
	const size = 64 << 10
	for range 200 {
		r := &http.Request{ContentLength: size, Body: io.NopCloser(bytes.NewReader(bytes.Repeat([]byte("a"), size)))}
		b, err := mem.readBody(r, size)
		if err != nil || !b.whole {
			t.Fatal(err)
		}
		in := b.open()
		b.release()
		var reading sync.WaitGroup
		reading.Go(func() {
			got, err := io.ReadAll(in)
			if i := bytes.IndexByte(got, 'b'); i >= 0 || err == nil && len(got) != size {
				t.Errorf("%d bytes, another body's from %d, %v", len(got), i, err)
			}
		})
		_ = in.Close()
		_ = in.Close()
		next := mem.buffer(size)
		copy(next[:size], bytes.Repeat([]byte("b"), size))
		reading.Wait()
		mem.recycle(next)
	}
	if mem.left.Load() != 1<<30 {
		t.Errorf("%d left", mem.left.Load())
	}
}
