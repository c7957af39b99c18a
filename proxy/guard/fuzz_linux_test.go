package guard

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// FuzzAnswer feeds the parser of the kernel's answers, which must never find
// another socket than the one asked for.
func FuzzAnswer(f *testing.F) {
	asked := tuple{local: netip.MustParseAddrPort("127.0.0.1:40000"), remote: netip.MustParseAddrPort("127.0.0.1:4000")}
	answer := make([]byte, headerLen+messageLen)
	binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
	binary.NativeEndian.PutUint16(answer[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint32(answer[8:], 7)
	body := answer[headerLen:]
	body[0], body[1] = 2, tcpEstablished
	binary.BigEndian.PutUint16(body[4:], 40000)
	binary.BigEndian.PutUint16(body[6:], 4000)
	copy(body[8:], []byte{127, 0, 0, 1})
	copy(body[24:], []byte{127, 0, 0, 1})
	binary.NativeEndian.PutUint32(body[64:], 1000)
	if r, err := parseAnswer(answer, 7, asked); err != nil || r.uid != 1000 {
		f.Fatalf("the seed: %+v, %v", r, err)
	}
	f.Add(answer)
	f.Add(answer[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseAnswer(b, 7, asked)
		if err != nil {
			if r != (socketInfo{}) {
				t.Errorf("a row with an error: %+v, %v", r, err)
			}
			return
		}
		got := b[headerLen:]
		if !bytes.Equal(got[4:8], body[4:8]) || binary.NativeEndian.Uint32(b[8:]) != 7 {
			t.Errorf("it found another socket: %x", b)
		}
	})
}

func FuzzProcRow(f *testing.F) {
	f.Add([]byte("01 00000000:00000000 00:00000000 00000000  1000        0 27511 1 000000007c3f4914 20 4 30 10 -1"))
	f.Add([]byte("06 00000000:00000000 03:00000F6A 00000000     0        0 0 3 0000000000000000"))
	f.Add([]byte("ZZ"))
	f.Fuzz(func(t *testing.T, rest []byte) {
		if r, err := parseProcLine(rest); err != nil && r != (socketInfo{}) {
			t.Errorf("a row with an error: %+v, %v", r, err)
		}
	})
}
