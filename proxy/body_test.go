package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/iotest"
)

func TestReadBody(t *testing.T) {
	const limit = 32 << 10
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = byte(rand.Uint32())
	}
	for _, size := range []int{0, 1, 100, firstRead - 1, firstRead, firstRead + 1, 2*firstRead + 1, limit - 1, limit, limit + 1, 2 * limit} {
		for _, chunked := range []bool{false, true} {
			for _, left := range []int64{1 << 20, limit, 5000, 0} {
				var mem budget
				mem.give(left)
				r := &http.Request{ContentLength: int64(size), Body: io.NopCloser(iotest.HalfReader(bytes.NewReader(text[:size])))}
				if chunked {
					r.ContentLength = -1
				}
				b, taken, err := readBody(r, limit, &mem)
				if err != nil {
					t.Fatal(err)
				}
				if mem.left.Load() != left-taken || mem.left.Load() < 0 || int64(cap(b.kept)) > taken {
					t.Errorf("%d bytes of %d: took %d for %d, %d left", size, left, taken, cap(b.kept), mem.left.Load())
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
						got, _ = io.ReadAll(out.Body)
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
			}
		}
	}
}

func TestReadBodyFails(t *testing.T) {
	var mem budget
	mem.give(1 << 20)
	r := &http.Request{ContentLength: 100, Body: io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 50)), iotest.ErrReader(io.ErrUnexpectedEOF)))}
	if _, taken, err := readBody(r, 1<<20, &mem); !errors.Is(err, io.ErrUnexpectedEOF) || taken != 100 {
		t.Errorf("%v, took %d", err, taken)
	}
}
