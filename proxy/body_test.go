package proxy

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestReadBody(t *testing.T) {
	const limit = 3 * firstRead / 2
	text := make([]byte, 2*limit)
	for i := range text {
		text[i] = byte(rand.Uint32())
	}
	for _, size := range []int{0, 1, 100, firstChunks - 1, firstChunks, firstChunks + 1, 2*firstChunks + 1, firstRead, firstRead + 1, limit - 1, limit, limit + 1, 2 * limit} {
		for _, chunked := range []bool{false, true} {
			for _, left := range []int{1 << 20, firstRead + limit, limit, 5000, 0} {
				var mem memory
				mem.give(left)
				r := &http.Request{ContentLength: int64(size), Body: io.NopCloser(iotest.HalfReader(bytes.NewReader(text[:size])))}
				if chunked {
					r.ContentLength = -1
				}
				b, err := mem.readBody(r.Body, r.ContentLength, limit)
				if err != nil {
					t.Fatal(err)
				}
				if b.payload != nil && (int(mem.left.Load()) != left-cap(b.data) || mem.left.Load() < 0) {
					t.Errorf("%d bytes of %d: a buffer of %d for %d, %d left", size, left, cap(b.data), len(b.data), mem.left.Load())
				}
				if fits := size <= limit; left == 1<<20 && b.whole != fits {
					t.Errorf("%d bytes, chunked %v: whole %v", size, chunked, b.whole)
				}
				for range 2 {
					out := &http.Request{Body: r.Body, ContentLength: r.ContentLength}
					b.attach(out, new(connection))
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
				if int(mem.left.Load()) != left {
					t.Errorf("%d bytes of %d left", mem.left.Load(), left)
				}
			}
		}
	}
}

func TestReadBodyFails(t *testing.T) {
	var mem memory
	mem.give(1 << 20)
	in := io.MultiReader(bytes.NewReader(make([]byte, 50)), iotest.ErrReader(io.ErrUnexpectedEOF))
	if b, err := mem.readBody(in, 100, 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) || b.payload != nil || mem.left.Load() != 1<<20 {
		t.Errorf("%v, %d left", err, mem.left.Load())
	}
}

// TestReadBodyTakesWhatCame: once half of the memory is lent, what a body
// announces costs nobody anything.
func TestReadBodyTakesWhatCame(t *testing.T) {
	const size, limit, all = 4 << 20, 4 << 20, 16 << 20
	for _, came := range []int{0, 1, firstRead - 1, firstRead, 1 << 19, size - 1} {
		for _, announced := range []int64{size, -1} {
			var mem memory
			mem.limit(all)
			mem.give(-all/2 + 1)
			mem.recycle(make([]byte, 2*firstRead)) // one that is larger than is asked for
			checked := false
			before := mem.left.Load()
			stalls := readerFunc(func([]byte) (int, error) {
				checked = true
				if held := before - mem.left.Load(); held > max(2*firstRead, mostTrust*int64(came)) {
					t.Errorf("%d bytes of %d hold %d", came, announced, held)
				}
				return 0, io.ErrUnexpectedEOF
			})
			if _, err := mem.readBody(io.MultiReader(bytes.NewReader(make([]byte, came)), stalls), announced, limit); err == nil || !checked {
				t.Error("read to its end")
			}
			if mem.left.Load() != before {
				t.Errorf("%d of %d bytes left", mem.left.Load(), before)
			}
		}
	}
}

// TestReadBodyAtOnce: a body lies where it was read, if there is plenty of
// memory.
func TestReadBodyAtOnce(t *testing.T) {
	const size = 4 << 20
	var mem memory
	mem.limit(2 * size)
	var first *byte
	left := size
	in := readerFunc(func(b []byte) (int, error) {
		if first == nil {
			first = &b[0]
		}
		n := min(len(b), left, 1000)
		if left -= n; left == 0 {
			return n, io.EOF
		}
		return n, nil
	})
	b, err := mem.readBody(in, size, size)
	if err != nil || !b.whole || first != &b.data[0] || cap(b.data) != size {
		t.Errorf("%d bytes in %d, whole %v, %v", len(b.data), cap(b.data), b.whole, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestMemoryIsWhatItLends: all buffers that are there at a time are charged, by
// their real size.
func TestMemoryIsWhatItLends(t *testing.T) {
	var mem memory
	mem.give(1 << 20)
	mem.recycle(make([]byte, 1<<20))
	buf := mem.lend(1<<19+1, 0)
	if held := 1<<20 - mem.left.Load(); cap(buf) != 1<<20 || held != 1<<20 {
		t.Errorf("a buffer of %d, charged %d", cap(buf), held)
	}
	if buf := mem.lend(1, 0); buf != nil {
		t.Errorf("lent %d bytes more", cap(buf))
	}
	mem.reclaim(buf)
	mem.give(-1)
	if buf := mem.lend(1<<19+1, 0); cap(buf) != 1<<19+1 {
		t.Errorf("a buffer of %d, where what is kept is too large", cap(buf))
	}
	// To grow takes the old buffer and the new, and never more than that.
	cfg := Config{ReplayLimit: 512 << 20}.withDefaults()
	if cfg.ReplayMemory != 2*cfg.ReplayLimit+1 {
		t.Errorf("%d bytes for bodies of %d", cfg.ReplayMemory, cfg.ReplayLimit)
	}
	var twice memory
	twice.limit(2<<20 + 1)
	if b, err := twice.readBody(bytes.NewReader(make([]byte, 1<<20)), -1, 1<<20); err != nil || !b.whole {
		t.Errorf("whole %v, %v", b.whole, err)
	}
	var tight memory
	tight.limit(2*firstRead + 1000)
	b, err := tight.readBody(bytes.NewReader(make([]byte, firstRead+1001)), firstRead+1001, 1<<20)
	if err != nil || b.whole || len(b.data) != firstRead {
		t.Errorf("%d bytes, whole %v, %v", len(b.data), b.whole, err)
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
	mem.give(64 << 20)
	if got := mem.lend(8<<20, 0); cap(got) != 8<<20 || mem.kept != 0 {
		t.Errorf("a buffer of %d, %d kept", cap(got), mem.kept)
	}
	mem.recycle(make([]byte, 1<<20))
	if got := mem.lend(8<<10, 0); cap(got) != 8<<10 {
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
	b, err := mem.readBody(bytes.NewReader(make([]byte, 10<<10)), 10<<10, 1<<20)
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

// TestPayloadClosedWhileRead: HTTP/2 closes a body in the middle of a read.
// Its memory may be another body's from then on.
func TestPayloadClosedWhileRead(t *testing.T) {
	var mem memory
	mem.give(1 << 30)
	const size = 64 << 10
	for range 200 {
		b, err := mem.readBody(bytes.NewReader(bytes.Repeat([]byte("a"), size)), size, size)
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
		next := mem.lend(size, 0)
		copy(next[:size], bytes.Repeat([]byte("b"), size))
		reading.Wait()
		mem.reclaim(next)
	}
	if mem.left.Load() != 1<<30 {
		t.Errorf("%d left", mem.left.Load())
	}
}

// deadlined is a connection that knows when its reads end.
type deadlined struct {
	http.ResponseWriter
	until time.Time
	set   int
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.until, d.set = t, d.set+1
	return nil
}

// TestUploadPutsOffItsDeadline no more often than it must, and not once it is
// closed: the connection may have its next request then.
func TestUploadPutsOffItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = time.Second
		var u upload
		conn := deadlined{until: time.Now().Add(leastIdle)}
		reads := 0
		u.begin(&conn, &http.Request{Body: io.NopCloser(readerFunc(func([]byte) (int, error) {
			reads++
			if left := time.Until(conn.until); left < bodyIdle {
				t.Errorf("read %d has %v", reads, left)
			}
			return 1, nil
		}))}, slog.New(slog.DiscardHandler))
		for range 1000 {
			_, _ = u.Read(make([]byte, 1))
			time.Sleep(every)
		}
		if most := 1 + 1000*every/(leastIdle-bodyIdle); conn.set > int(most) || reads != 1000 {
			t.Errorf("%d deadlines for %d reads", conn.set, reads)
		}
		before := conn.set
		_ = u.Close()
		time.Sleep(bodyIdle)
		conn.until = time.Now().Add(time.Hour) // the next request's
		_, _ = u.Read(make([]byte, 1))
		if conn.set != before {
			t.Error("a deadline was set after Close")
		}
	})
}
