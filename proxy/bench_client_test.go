package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// benchRequest returns a request for a chat completion, as an agent would send it.
// query is "" or what the upstream is to stream: "?events=3".
func benchRequest(query, body string) []byte {
	return []byte(fmt.Sprintf("POST /v1/chat/completions%s HTTP/1.1\r\nHost: localhost:4000\r\nUser-Agent: agent/1.0\r\nAccept: application/json\r\n"+
		"Authorization: Bearer client\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", query, len(body), body))
}

// longMessage is a body of one message with a text of size bytes.
func longMessage(size int, streamed bool) string {
	return fmt.Sprintf(`{"model":"m","stream":%t,"messages":[{"role":"user","content":"%s"}]}`, streamed, strings.Repeat("x", size))
}

// dirtySession is a body of at least size bytes as an agent has it late in a
// session. The text of every eighth turn is blank, which the filter mends.
func dirtySession(size int) string {
	var b strings.Builder
	b.WriteString(`{"model":"m","messages":[{"role":"user","content":"Mend the build."}`)
	file := strings.Repeat(`\tif err != nil {\n\t\treturn fmt.Errorf(\"reading %q: %w\", name, err)\n\t}\n`, 50)
	for turn := 0; b.Len() < size; turn++ {
		said := "I'll look at the next file, and then at the one that calls it."
		if turn%8 == 0 {
			said = " "
		}
		fmt.Fprintf(&b, `,{"role":"assistant","content":[{"type":"text","text":"%s"}],"tool_calls":[{"id":"call_%d","type":"function","function":{"name":"read","arguments":"{\"path\":\"/src/main.go\"}"}}]}`, said, turn)
		fmt.Fprintf(&b, `,{"role":"tool","tool_call_id":"call_%d","content":"%s"}`, turn, file)
	}
	b.WriteString(`,{"role":"user","content":"Go on."}]}`)
	return b.String()
}

// benchClient asks over one connection, and takes much less for it than an
// http.Client: what is measured is to be the proxy.
type benchClient struct {
	conn   net.Conn
	in     *bufio.Reader
	answer messageHead
}

func dialBench(addr string) (*benchClient, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &benchClient{conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}, nil
}

// start sends the request, and reads the answer's head and, if it comes in chunks, the
// first one, whose size it returns.
func (c *benchClient) start(request []byte) (first int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	if err := c.answer.read(c.in); err != nil {
		return 0, err
	}
	if _, status, _ := bytes.Cut(c.answer.start, []byte(" ")); decimal(status) != 200 {
		return 0, fmt.Errorf("the answer is %q", c.answer.start)
	}
	if c.answer.length < 0 {
		return c.chunk()
	}
	return 0, nil
}

// ask sends the request and reads the whole answer, whose body must have size
// bytes. It returns when the answer had begun: for a stream, when its first event
// was there.
func (c *benchClient) ask(request []byte, size int) (begun time.Time, err error) {
	got, err := c.start(request)
	if err != nil {
		return begun, err
	}
	begun = time.Now()
	if c.answer.length > 0 {
		got, err = c.in.Discard(c.answer.length)
	}
	for n := got; c.answer.length < 0 && n > 0 && err == nil; got += n {
		n, err = c.chunk()
	}
	if err == nil && got != size {
		err = fmt.Errorf("the answer has %d bytes, want %d", got, size)
	}
	return begun, err
}

// chunk reads one chunk, and returns its size; the last one has 0.
func (c *benchClient) chunk() (size int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	for _, digit := range line[:len(line)-2] {
		switch {
		case '0' <= digit && digit <= '9':
			size = size<<4 + int(digit-'0')
		case 'a' <= digit|0x20 && digit|0x20 <= 'f':
			size = size<<4 + int(digit|0x20-'a') + 10
		default:
			return 0, errors.New("the answer's chunks have sizes that are no numbers")
		}
	}
	_, err = c.in.Discard(size + len("\r\n"))
	return size, err
}

// load is what clients ask at the same time, each again and again.
type load struct {
	clients int
	request []byte
	answer  int // the size of the answer's body
}

// outcome is what became of a load.
type outcome struct {
	answers int
	took    time.Duration
	begun   []time.Duration // from a request to its answer's beginning
	each    []time.Duration // from a request to its answer's end
	cpu     time.Duration   // of the proxy's process
}

// connect opens the load's connections. They are closed when the benchmark ends.
func (l load) connect(b *testing.B, addr string) []*benchClient {
	b.Helper()
	clients := make([]*benchClient, l.clients)
	for i := range clients {
		c, err := dialBench(addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.conn.Close() })
		clients[i] = c
	}
	return clients
}

// run puts the load on the peer for d.
func (l load) run(b *testing.B, p *peer, clients []*benchClient, d time.Duration) outcome {
	b.Helper()
	before := p.account(b, "/").cpu
	from := time.Now()
	parts := make([]outcome, l.clients)
	var asking sync.WaitGroup
	for i, c := range clients {
		asking.Go(func() {
			part := &parts[i]
			for last := from; last.Sub(from) < d; {
				begun, err := c.ask(l.request, l.answer)
				if err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				part.begun, part.each = append(part.begun, begun.Sub(last)), append(part.each, now.Sub(last))
				last = now
			}
		})
	}
	asking.Wait()
	all := outcome{took: time.Since(from)}
	all.cpu = p.account(b, "/").cpu - before
	if b.Failed() {
		b.FailNow()
	}
	for _, part := range parts {
		all.answers += len(part.each)
		all.begun, all.each = append(all.begun, part.begun...), append(all.each, part.each...)
	}
	return all
}
