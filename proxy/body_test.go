package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// impatient waits for no memory.
func impatient() (until time.Time, err error) { return time.Now(), nil }

// TestReadBody: what was read and what is left are all that was sent, as much of it in
// memory as there may be, and its memory comes back.
func TestReadBody(t *testing.T) {
	const limit, plenty = 3 * firstRead / 2, 1 << 20
	text := make([]byte, 2*limit)
	for i := range text {
		text[i] = byte(rand.Uint32())
	}
	for _, size := range []int{0, 1, 100, firstChunks - 1, firstChunks, firstChunks + 1, 2*firstChunks + 1, firstRead, firstRead + 1, limit - 1, limit, limit + 1, 2 * limit} {
		for _, announced := range []int64{int64(size), -1} {
			for _, room := range []int{plenty, firstRead + limit, limit, 5000, 0} {
				var mem memory
				mem.limit(room)
				in := iotest.HalfReader(bytes.NewReader(text[:size]))
				b, err := mem.readBody(in, announced, limit, impatient)
				if err != nil {
					t.Fatal(err)
				}
				if held := room - int(mem.left.Load()); held != cap(b.data) || held > room {
					t.Errorf("%d bytes of %d: %d are held, in a buffer of %d", len(b.data), size, held, cap(b.data))
				}
				if b.short == b.whole && size <= limit || room == plenty && b.whole != (size <= limit) {
					t.Errorf("%d bytes, %d announced, room for %d: whole %v, short %v", size, announced, room, b.whole, b.short)
				}
				if want := announced; b.whole && b.size != int64(size) || !b.whole && b.size != want {
					t.Errorf("%d bytes, %d announced: %d", size, announced, b.size)
				}
				got := bytes.Clone(b.data)
				if !b.whole {
					rest, _ := io.ReadAll(in)
					got = append(got, rest...)
				}
				if !bytes.Equal(got, text[:size]) {
					t.Errorf("%d bytes, %d announced, room for %d: %d came, whole %v", size, announced, room, len(got), b.whole)
				}
				b.release()
				b.release()
				if int(mem.left.Load()) != room {
					t.Errorf("%d bytes of %d are left", mem.left.Load(), room)
				}
			}
		}
	}
}

func TestReadBodyFails(t *testing.T) {
	var mem memory
	mem.limit(1 << 20)
	in := io.MultiReader(bytes.NewReader(make([]byte, 50)), iotest.ErrReader(io.ErrUnexpectedEOF))
	if b, err := mem.readBody(in, 100, 1<<20, impatient); !errors.Is(err, io.ErrUnexpectedEOF) || b.data != nil || mem.left.Load() != 1<<20 {
		t.Errorf("%v, %d left", err, mem.left.Load())
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestReadBodyTakesWhatCame: once half of the memory is lent, what a body
// announces costs nobody anything.
func TestReadBodyTakesWhatCame(t *testing.T) {
	const size, limit, all = 4 << 20, 4 << 20, 16 << 20
	for _, came := range []int{0, 1, firstRead - 1, firstRead, 1 << 19, size - 1} {
		for _, announced := range []int64{size, -1} {
			var mem memory
			mem.limit(all)
			mem.left.Add(-all/2 + 1)
			checked := false
			before := mem.left.Load()
			stalls := readerFunc(func([]byte) (int, error) {
				checked = true
				if held := before - mem.left.Load(); held > max(firstRead, mostTrust*int64(came)) {
					t.Errorf("%d bytes of %d hold %d", came, announced, held)
				}
				return 0, io.ErrUnexpectedEOF
			})
			if _, err := mem.readBody(io.MultiReader(bytes.NewReader(make([]byte, came)), stalls), announced, limit, impatient); err == nil || !checked {
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
	b, err := mem.readBody(in, size, size, impatient)
	if err != nil || !b.whole || first != &b.data[0] || cap(b.data) != size {
		t.Errorf("%d bytes in %d, whole %v, %v", len(b.data), cap(b.data), b.whole, err)
	}
}

// TestMemoryIsBounded: many bodies at once never lie in more than there is, and none
// in a buffer that another has.
func TestMemoryIsBounded(t *testing.T) {
	const all, limit = 4 << 20, 1 << 20
	var mem memory
	mem.limit(all)
	full := mem.lend(all, 0)
	if b, err := mem.readBody(bytes.NewReader(make([]byte, limit)), limit, limit, impatient); err != nil || !b.short || b.data != nil {
		t.Errorf("a body of %d bytes where nothing is left, %v", len(b.data), err)
	}
	mem.reclaim(full)
	var held atomic.Int64
	var reading sync.WaitGroup
	for client := range byte(16) {
		reading.Go(func() {
			text := bytes.Repeat([]byte{client}, limit)
			for range 50 {
				size := rand.IntN(limit)
				announced := []int64{int64(size), -1}[rand.IntN(2)]
				b, err := mem.readBody(bytes.NewReader(text[:size]), announced, limit, impatient)
				if err != nil {
					t.Error(err)
				}
				if sum := held.Add(int64(cap(b.data))); sum > all {
					t.Errorf("%d bytes are held", sum)
				}
				if !bytes.Equal(b.data, text[:len(b.data)]) {
					t.Error("another's bytes are in a body")
				}
				held.Add(-int64(cap(b.data)))
				b.release()
			}
		})
	}
	reading.Wait()
	if mem.left.Load() != all {
		t.Errorf("%d bytes left", mem.left.Load())
	}
}

// TestMemoryForGrowth: the largest body fits, where nobody else has one: while it
// grows there are two buffers, and their classes make them larger than it is.
func TestMemoryForGrowth(t *testing.T) {
	for _, limit := range []int{1 << 20, 16 << 20, 128 << 20, 256 << 20, 260 << 20, 400 << 20, 512 << 20, 640<<20 + 1} {
		cfg := Config{ReplayLimit: limit}.withDefaults()
		last := firstChunks
		for 2*last <= limit {
			last *= 2
		}
		if _, size := sizeClass(limit + 1); last+size > cfg.ReplayMemory {
			t.Errorf("a limit of %d makes buffers of %d and %d, of %d", limit, last, size, cfg.ReplayMemory)
		}
	}
}

// TestReplaceIsCharged: what takes a body's place is counted, by its real size.
func TestReplaceIsCharged(t *testing.T) {
	const all = 1 << 20
	var mem memory
	mem.limit(all)
	b, err := mem.readBody(bytes.NewReader(make([]byte, 20<<10)), 20<<10, all, impatient)
	if err != nil || !b.whole {
		t.Fatal(err)
	}
	b.replace(append(mem.buffer(50_000), "mended"...), false)
	if held := all - mem.left.Load(); held != int64(cap(b.data)) || held < 50_000 || b.size != 6 {
		t.Errorf("%d bytes of %d are charged", held, cap(b.data))
	}
	if b.release(); mem.left.Load() != all {
		t.Errorf("%d bytes left", mem.left.Load())
	}
}

func TestSizeClass(t *testing.T) {
	for n, want := range map[int]int{
		0: 0, 1: 1, smallBuffer: smallBuffer, smallBuffer + 1: 5 << 10, 5 << 10: 5 << 10, 7<<10 + 1: 8 << 10,
		64 << 10: 64 << 10, 64<<10 + 1: 80 << 10, 1<<20 - 1: 1 << 20, 16<<20 + 1: 20 << 20, 1 << 30: 1 << 30,
	} {
		if _, size := sizeClass(n); size != want {
			t.Errorf("%d bytes lie in %d, want %d", n, size, want)
		}
	}
	sizes := map[int]int{} // by class
	for range 100_000 {
		n := rand.IntN(1 << (1 + rand.IntN(32)))
		class, size := sizeClass(n)
		if size < n || size > n+n/4+1 {
			t.Fatalf("%d bytes lie in %d", n, size)
		}
		if again, same := sizeClass(size); again != class || same != size {
			t.Fatalf("a buffer of %d comes back as one of %d", size, same)
		}
		if before := sizes[class]; size > smallBuffer && before != 0 && before != size {
			t.Fatalf("%d and %d bytes are one class", before, size)
		}
		sizes[class] = size
	}
}

// TestLendIsLargeEnough, whatever was given back before.
func TestLendIsLargeEnough(t *testing.T) {
	var mem memory
	mem.limit(1 << 30)
	for range 10_000 {
		n := rand.IntN(1 << (1 + rand.IntN(20)))
		buf := mem.lend(n, 0)
		if len(buf) != 0 || cap(buf) < n {
			t.Fatalf("%d of %d bytes, for %d", len(buf), cap(buf), n)
		}
		if rand.IntN(4) == 0 {
			mem.left.Add(int64(cap(buf)))
			buf = make([]byte, n, n+rand.IntN(2*n+1)) // as a filter may have made it
			mem.left.Add(-int64(cap(buf)))
		}
		mem.reclaim(buf)
	}
	if mem.left.Load() != 1<<30 {
		t.Errorf("%d left", mem.left.Load())
	}
	mem.limit(1000)
	if buf := mem.lend(1001, 0); buf != nil {
		t.Errorf("lent %d bytes of 1000", cap(buf))
	}
	if buf := mem.lend(501, 500); buf != nil || mem.left.Load() != 1000 {
		t.Errorf("lent %d bytes, and not so many are left as asked: %d", cap(buf), mem.left.Load())
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

// TestUploadPutsOffItsDeadline no more often than it must.
func TestUploadPutsOffItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = time.Second
		conn := deadlined{until: time.Now().Add(leastIdle)}
		reads := 0
		u := upload{client: &conn, since: time.Now(), from: readerFunc(func([]byte) (int, error) {
			reads++
			if left := time.Until(conn.until); left < bodyIdle {
				t.Errorf("read %d has %v", reads, left)
			}
			return 1, nil
		})}
		for range 1000 {
			_, _ = u.Read(make([]byte, 1))
			time.Sleep(every)
		}
		if most := 1 + 1000*every/(leastIdle-bodyIdle); conn.set > int(most) || reads != 1000 {
			t.Errorf("%d deadlines for %d reads", conn.set, reads)
		}
	})
}

// TestLendIsFair: who asks for more than there is takes nothing from others, not for a
// moment either.
func TestLendIsFair(t *testing.T) {
	var mem memory
	mem.limit(1 << 20)
	var stop atomic.Bool
	var greedy sync.WaitGroup
	for range 4 {
		greedy.Go(func() {
			for !stop.Load() {
				if mem.lend(2<<20, 0) != nil {
					t.Error("lent more than there is")
				}
			}
		})
	}
	for range 20_000 {
		buf := mem.lend(100, 0)
		if buf == nil {
			t.Error("100 bytes weren't lent")
			break
		}
		mem.reclaim(buf)
	}
	stop.Store(true)
	greedy.Wait()
}
