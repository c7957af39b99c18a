//go:build unix

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// asItIs is a path that goes upstream as it is, in no agent's API.
const asItIs = "/serving-endpoints/lab"

// question is a body that every API's agents could send, and that needs no
// mending.
const question = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`

func transparentRows() []row {
	return []row{
		{name: "every method passes, HEAD and OPTIONS included", run: showMethods},
		{name: "TRACE is refused, which would show the token", run: showTrace},
		{name: "HEAD / is answered by patrol", run: showRoot},
		{name: "paths and query strings pass byte for byte", run: showTargets},
		{name: "request bodies pass: of known length, chunked, gzip, zstd", run: showBodies},
		{name: "a client that leaves within its body reaches nobody", run: showBodyCutShort},
		{name: "the trailers of requests pass, but for credentials", run: showRequestTrailers},
		{name: "Expect: 100-continue is answered when the body is wanted", run: showExpect},
		{name: "a websocket Upgrade on a model route is answered 426, on another it is stripped", run: showWebsocket},
		{name: "other Upgrades are stripped, and the request answered", run: showUpgrades},
		{name: "an answer that switches protocols unasked is no tunnel", only: overPlain, run: showUnaskedUpgrade},
		{name: "1xx answers pass", run: showInformational},
		{name: "repeated headers pass, each by itself", run: showRepeatedHeaders},
		{name: "trailers pass", run: showTrailers},
		{name: "compressed answers pass as they are", run: showCompressedAnswers},
		{name: "a filtered route asks only for encodings that the filter reads", run: showAcceptedEncodings},
	}
}

func showMethods(t *testing.T, f *fixture) {
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		w.Header().Set("X-Got", req.Method+" "+string(body))
		w.Header().Set("Content-Length", "6")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "answer") // which net/http drops for HEAD
	})
	methods := []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"}
	for _, method := range methods {
		body, want := "sent", "answer"
		switch method {
		case "HEAD":
			body, want = "", ""
		case "GET", "OPTIONS":
			body = ""
		}
		got := f.ask(t, method, asItIs, body)
		if got.StatusCode != http.StatusAccepted || got.Header.Get("X-Got") != strings.TrimSpace(method+" "+body) || got.body != want || got.ContentLength != 6 || got.err != nil {
			t.Errorf("%s: %d %v %q %v", method, got.StatusCode, got.Header, got.body, got.err)
		}
	}
	f.arrived(t, len(methods))
}

func showTrace(t *testing.T, f *fixture) {
	for _, method := range []string{"TRACE", "trace"} {
		for path := range apiOf {
			if got := f.ask(t, method, path, ""); got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") == "" {
				t.Errorf("%s %s: %d %v", method, path, got.StatusCode, got.Header)
			}
		}
	}
	f.arrived(t, 0)
}

func showRoot(t *testing.T, f *fixture) {
	for _, method := range []string{"HEAD", "GET"} {
		got := f.ask(t, method, "/", "")
		if got.StatusCode != http.StatusOK || got.err != nil || (got.body == "") != (method == "HEAD") {
			t.Errorf("%s: %d %q", method, got.StatusCode, got.body)
		}
	}
	f.arrived(t, 0)
}

func showTargets(t *testing.T, f *fixture) {
	for _, target := range []string{
		asItIs + "?beta=true",
		asItIs + "?a=1;b=2&&c=%zz&%41=+%20&q={}[]|^`\\&=&a=1",
		asItIs + "/a%20b%c3%A4/models/m:x,y@z?alt=sse",
		asItIs + "/?//../api/2.0/token/create",
	} {
		got := f.raw(t, "POST "+target+" HTTP/1.1\r\nHost: localhost\r\nROW\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
		all := f.arrived(t, -1)
		if len(all) == 0 || all[len(all)-1].uri != target {
			t.Errorf("%s: %d %s; %d came, the last not as it was", target, got.StatusCode, got.body, len(all))
		}
	}
}

// zipped returns s in gzip.
func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

// compressed returns s in zstd.
func compressed(s string) string {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer z.Close()
	return string(z.EncodeAll([]byte(s), nil))
}

func showBodies(t *testing.T, f *fixture) {
	for _, size := range []int{1, replayLimit / 2, 2 * replayLimit, 1 << 20} {
		plain := strings.Replace(question, "hello", strings.Repeat("x", size), 1)
		for encoding, body := range map[string]string{"": plain, "gzip": zipped(plain), "zstd": compressed(plain)} {
			for _, how := range []string{"of known length", "chunked", "expected"} {
				var in io.Reader = strings.NewReader(body)
				if how == "chunked" {
					in = io.MultiReader(in)
				}
				req := f.request(t, http.MethodPost, "/v1/messages", in)
				if encoding != "" {
					req.Header.Set("Content-Encoding", encoding)
				}
				if how == "expected" {
					req.Header.Set("Expect", "100-continue")
				}
				f.forget(t)
				got := f.send(t, req)
				a := f.arrived(t, 1)[0]
				if got.StatusCode != http.StatusOK || a.body != body || a.header.Get("Content-Encoding") != encoding || a.header["Expect"] != nil {
					t.Errorf("%d bytes, %q, %s: %d %.100s; %d bytes came in %q", size, encoding, how,
						got.StatusCode, got.body, len(a.body), a.header.Get("Content-Encoding"))
				}
			}
		}
	}
}

func showBodyCutShort(t *testing.T, f *fixture) {
	for _, rest := range []string{
		"Content-Length: 1000\r\n\r\n" + question,
		"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
		"Transfer-Encoding: chunked\r\n\r\nzz\r\nabcde\r\n",
	} {
		conn := f.dial(t)
		_, _ = fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n%s: %s\r\n%s", rowHeader, t.Name(), rest)
		_ = conn.(*net.TCPConn).CloseWrite()
		if got, _ := io.ReadAll(conn); bytes.Contains(got, []byte(" 200 ")) {
			t.Errorf("%.80q: %s", rest, got)
		}
	}
	f.arrived(t, 0)
}

// From memory, and as they come.
func showRequestTrailers(t *testing.T, f *fixture) {
	trailers := make(chan http.Header, 1)
	f.handle(t, func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		trailers <- req.Trailer
	})
	for _, size := range []int{10, 2 * replayLimit} {
		req := f.request(t, http.MethodPost, "/v1/messages", io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
		req.Trailer = http.Header{"Authorization": {"Bearer evil"}, "X-Checksum": {"1"}}
		if got := f.send(t, req); got.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		if trailer := <-trailers; len(trailer) != 1 || trailer.Get("X-Checksum") != "1" {
			t.Errorf("%d bytes: %v came upstream", size, trailer)
		}
	}
	f.arrived(t, 2)
}

func showExpect(t *testing.T, f *fixture) {
	for path, want := range map[string]string{"/v1/messages": "100 Continue", "/nothing": "404 Not Found"} {
		conn := f.dial(t)
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\n%s: %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
			path, rowHeader, t.Name(), len(question))
		in := bufio.NewReader(conn)
		first, err := in.ReadString('\n')
		if strings.TrimSpace(first) != "HTTP/1.1 "+want || err != nil {
			t.Fatalf("%s: %q, %v", path, first, err)
		}
		if path == "/nothing" {
			continue
		}
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(conn, question)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("after the body: %v, %v", resp, err)
		}
	}
	if a := f.arrived(t, 1)[0]; a.header["Expect"] != nil || a.body != question {
		t.Errorf("came with Expect %q and %q", a.header["Expect"], a.body)
	}
}

func showWebsocket(t *testing.T, f *fixture) {
	upgrade := func(path, to string) outcome {
		return f.ask(t, http.MethodGet, path, "", "Connection", "keep-alive, Upgrade", "Upgrade", to,
			"Sec-Websocket-Key", "eA==", "Sec-Websocket-Version", "13")
	}
	for _, path := range []string{"/responses", "/v1/responses", "/v1/messages", "/v1/chat/completions", "/v1beta/models/m:x", asItIs} {
		for _, to := range []string{"websocket", "WebSocket", "h2c, websocket"} {
			if got := upgrade(path, to); got.StatusCode != http.StatusUpgradeRequired || got.Header.Get("Upgrade") == "" {
				t.Errorf("%s, %s: %d %s", path, to, got.StatusCode, got.body)
			}
		}
	}
	f.arrived(t, 0)
	if got := upgrade("/api/2.0/preview/scim/v2/Me", "websocket"); got.StatusCode != http.StatusOK {
		t.Errorf("no model route: %d %s", got.StatusCode, got.body)
	}
	f.arrived(t, 1)
}

func showUpgrades(t *testing.T, f *fixture) {
	for i, upgrade := range []string{"h2c", "TLS/1.0", "something", "\xe9"} {
		got := f.ask(t, http.MethodPost, "/v1/messages", question, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", upgrade, "Http2-Settings", "AAMAAABk")
		a := f.arrived(t, i+1)[i]
		if got.StatusCode != http.StatusOK || a.body != question {
			t.Errorf("%s: %d %s", upgrade, got.StatusCode, got.body)
		}
		for _, name := range []string{"Upgrade", "Http2-Settings", "Connection"} {
			if v := a.header[name]; v != nil {
				t.Errorf("%s: %s %q came upstream", upgrade, name, v)
			}
		}
	}
}

func showUnaskedUpgrade(t *testing.T, f *fixture) {
	f.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "something")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	if got := f.ask(t, http.MethodPost, "/v1/messages", question, "Connection", "Upgrade", "Upgrade", "something"); got.StatusCode != http.StatusBadGateway {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	f.arrived(t, 1)
}

func showInformational(t *testing.T, f *fixture) {
	f.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, link := range []string{"</a>", "</b>"} {
			w.Header().Set("Link", link)
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "answer")
	})
	var hints []string
	req := f.request(t, http.MethodPost, "/v1/messages", strings.NewReader(question))
	got := f.send(t, req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprintf("%d %s", code, h.Get("Link")))
			return nil
		},
	})))
	if want := []string{"103 </a>", "103 </b>"}; !slices.Equal(hints, want) || got.body != "answer" || got.Header["Link"] != nil {
		t.Errorf("%q, then %d %v %q", hints, got.StatusCode, got.Header, got.body)
	}
	f.arrived(t, 1)
}

func showRepeatedHeaders(t *testing.T, f *fixture) {
	links := []string{`</a>; rel="x, y"`, "</b>", "</a>"}
	f.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Link"] = links
		w.Header()["Www-Authenticate"] = []string{"Basic", "Bearer"}
	})
	got := f.ask(t, http.MethodPost, "/v1/messages", question, "X-Twice", "1", "X-Twice", "2")
	if !slices.Equal(got.Header["Link"], links) || len(got.Header["Www-Authenticate"]) != 2 {
		t.Errorf("the answer has %q", got.Header)
	}
	if twice := f.arrived(t, 1)[0].header["X-Twice"]; !slices.Equal(twice, []string{"1", "2"}) {
		t.Errorf("upstream has %q", twice)
	}
}

func showTrailers(t *testing.T, f *fixture) {
	f.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.WriteString(w, "answer")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "2")
	})
	got := f.ask(t, http.MethodPost, "/v1/messages", question)
	if got.body != "answer" || got.Trailer.Get("X-Announced") != "1" || got.Trailer.Get("X-Unannounced") != "2" {
		t.Errorf("%q, trailer %v", got.body, got.Trailer)
	}
}

func showCompressedAnswers(t *testing.T, f *fixture) {
	const answer = `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`
	wires := map[string]string{"gzip": zipped(answer), "zstd": compressed(answer), "": answer, "br": "no such thing \x00\xff"}
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		encoding := req.Header.Get("X-Want")
		w.Header().Set("Content-Type", "application/json")
		if encoding != "" {
			w.Header().Set("Content-Encoding", encoding)
		}
		_, _ = io.WriteString(w, wires[encoding])
	})
	for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/responses", asItIs} {
		for encoding, want := range wires {
			got := f.ask(t, http.MethodPost, path, question, "X-Want", encoding)
			if got.body != want || got.Header.Get("Content-Encoding") != encoding {
				t.Errorf("%s in %q: %q %v", path, encoding, got.body, got.Header)
			}
		}
	}
	for _, a := range f.arrived(t, -1) {
		if a.header["Accept-Encoding"] != nil {
			t.Errorf("%s: patrol asks for %q itself", a.uri, a.header["Accept-Encoding"])
		}
	}
}

func showAcceptedEncodings(t *testing.T, f *fixture) {
	for i, tt := range []struct{ path, sent, want string }{
		{"/v1/chat/completions", "gzip,  deflate, br, zstd;q=0.1", "gzip,  deflate, br, zstd;q=0.1"},
		{"/v1/chat/completions", "gzip;q=0.5, dcb, dcz, zstd;q=0.2", "gzip;q=0.5, zstd;q=0.2"},
		{"/v1/chat/completions", "compress", "identity"},
		{"/v1/chat/completions", "*", "identity"},
		{"/v1/responses", "dcb, *", "dcb, *"},
	} {
		got := f.ask(t, http.MethodPost, tt.path, question, "Accept-Encoding", tt.sent)
		if sent := f.arrived(t, i+1)[i].header["Accept-Encoding"]; len(sent) != 1 || sent[0] != tt.want {
			t.Errorf("%s, %q: upstream was asked for %q (%d)", tt.path, tt.sent, sent, got.StatusCode)
		}
	}
}
