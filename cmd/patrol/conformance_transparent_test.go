//go:build unix

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// labPath is a path that goes upstream as it is, in no agent's API.
const labPath = "/serving-endpoints/lab"

// question is a body that every API's agents could send, and that needs no
// mending.
const question = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`

func transparentRows() []row {
	return []row{
		{name: "every method passes, HEAD and OPTIONS included", run: showMethods},
		{name: "HEAD / is answered by patrol", run: showRoot},
		{name: "paths and query strings pass byte for byte", run: showTargets},
		{name: "request bodies pass: of known length, chunked, gzip, zstd", run: showBodies},
		{name: "Expect: 100-continue is answered when the body is wanted", run: showExpect},
		{name: "a websocket Upgrade on a model route is answered 426", run: showWebsocket},
		{name: "other Upgrades are stripped, and the request answered", run: showUpgrades},
		{name: "1xx answers pass", run: showInformational},
		{name: "repeated headers pass, each by itself", run: showRepeatedHeaders},
		{name: "trailers pass", run: showTrailers},
		{name: "compressed answers pass as they are", run: showCompressedAnswers},
		{name: "a filtered route asks only for encodings that the filter reads", run: showAcceptedEncodings},
	}
}

func showMethods(t *testing.T, r *rig) {
	r.lab.handle(t, func(w http.ResponseWriter, req *http.Request) {
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
		got := r.ask(t, method, labPath, body)
		if got.StatusCode != http.StatusAccepted || got.Header.Get("X-Got") != strings.TrimSpace(method+" "+body) || got.body != want || got.ContentLength != 6 || got.err != nil {
			t.Errorf("%s: %d %v %q %v", method, got.StatusCode, got.Header, got.body, got.err)
		}
	}
	r.arrived(t, len(methods))
}

func showRoot(t *testing.T, r *rig) {
	for _, method := range []string{"HEAD", "GET"} {
		got := r.ask(t, method, "/", "")
		if got.StatusCode != http.StatusOK || got.err != nil || (got.body == "") != (method == "HEAD") {
			t.Errorf("%s: %d %q", method, got.StatusCode, got.body)
		}
	}
	r.arrived(t, 0)
}

func showTargets(t *testing.T, r *rig) {
	for _, target := range []string{
		labPath + "?beta=true",
		labPath + "?a=1;b=2&&c=%zz&%41=+%20&q={}[]|^`\\&=&a=1",
		labPath + "/a%20b%c3%A4/models/m:x,y@z?alt=sse",
		labPath + "/?//../api/2.0/token/create",
	} {
		got := r.raw(t, "POST "+target+" HTTP/1.1\r\nHost: localhost\r\nROW\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
		all := r.arrived(t, -1)
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

func showBodies(t *testing.T, r *rig) {
	n := 0
	for _, size := range []int{1, replayLimit / 2, 2 * replayLimit} {
		plain := strings.Replace(question, "hello", strings.Repeat("x", size), 1)
		for encoding, body := range map[string]string{"": plain, "gzip": zipped(plain), "zstd": compressed(plain)} {
			for _, chunked := range []bool{false, true} {
				var in io.Reader = strings.NewReader(body)
				if chunked {
					in = io.MultiReader(in)
				}
				req := r.request(t, http.MethodPost, "/v1/messages", in)
				if encoding != "" {
					req.Header.Set("Content-Encoding", encoding)
				}
				got := r.send(t, req)
				n++
				a := r.arrived(t, n)[n-1]
				if got.StatusCode != http.StatusOK || a.body != body || a.header.Get("Content-Encoding") != encoding {
					t.Errorf("%d bytes, %q, chunked %v: %d %.100s; %d bytes came in %q", size, encoding, chunked,
						got.StatusCode, got.body, len(a.body), a.header.Get("Content-Encoding"))
				}
			}
		}
	}
}

func showExpect(t *testing.T, r *rig) {
	for path, want := range map[string]string{"/v1/messages": "100 Continue", "/nothing": "404 Not Found"} {
		conn := r.dial(t)
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
	if a := r.arrived(t, 1)[0]; a.header["Expect"] != nil || a.body != question {
		t.Errorf("came with Expect %q and %q", a.header["Expect"], a.body)
	}
}

func showWebsocket(t *testing.T, r *rig) {
	for _, path := range []string{"/responses", "/v1/responses", "/v1/messages", "/v1/chat/completions", "/v1beta/models/m:x", labPath} {
		got := r.ask(t, http.MethodGet, path, "", "Connection", "keep-alive, Upgrade", "Upgrade", "websocket",
			"Sec-Websocket-Key", "eA==", "Sec-Websocket-Version", "13")
		if got.StatusCode != http.StatusUpgradeRequired || got.Header.Get("Upgrade") == "" {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	r.arrived(t, 0)
}

func showUpgrades(t *testing.T, r *rig) {
	for i, upgrade := range []string{"h2c", "TLS/1.0", "something"} {
		got := r.ask(t, http.MethodPost, "/v1/messages", question, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", upgrade, "Http2-Settings", "AAMAAABk")
		a := r.arrived(t, i+1)[i]
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

func showInformational(t *testing.T, r *rig) {
	r.lab.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, link := range []string{"</a>", "</b>"} {
			w.Header().Set("Link", link)
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "answer")
	})
	var hints []string
	req := r.request(t, http.MethodPost, "/v1/messages", strings.NewReader(question))
	got := r.send(t, req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprintf("%d %s", code, h.Get("Link")))
			return nil
		},
	})))
	if want := []string{"103 </a>", "103 </b>"}; !slices.Equal(hints, want) || got.body != "answer" || got.Header["Link"] != nil {
		t.Errorf("%q, then %d %v %q", hints, got.StatusCode, got.Header, got.body)
	}
	r.arrived(t, 1)
}

func showRepeatedHeaders(t *testing.T, r *rig) {
	cookies := []string{"a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "b=2", "a=3"}
	r.lab.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = cookies
		w.Header()["Www-Authenticate"] = []string{"Basic", "Bearer"}
	})
	got := r.ask(t, http.MethodPost, "/v1/messages", question, "X-Twice", "1", "X-Twice", "2")
	if !slices.Equal(got.Header["Set-Cookie"], cookies) || len(got.Header["Www-Authenticate"]) != 2 {
		t.Errorf("the answer has %q", got.Header)
	}
	if twice := r.arrived(t, 1)[0].header["X-Twice"]; !slices.Equal(twice, []string{"1", "2"}) {
		t.Errorf("upstream has %q", twice)
	}
}

func showTrailers(t *testing.T, r *rig) {
	r.lab.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.WriteString(w, "answer")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "2")
	})
	got := r.ask(t, http.MethodPost, "/v1/messages", question)
	if got.body != "answer" || got.Trailer.Get("X-Announced") != "1" || got.Trailer.Get("X-Unannounced") != "2" {
		t.Errorf("%q, trailer %v", got.body, got.Trailer)
	}
}

func showCompressedAnswers(t *testing.T, r *rig) {
	const answer = `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`
	wires := map[string]string{"gzip": zipped(answer), "zstd": compressed(answer), "": answer}
	r.lab.handle(t, func(w http.ResponseWriter, req *http.Request) {
		encoding := req.Header.Get("X-Want")
		w.Header().Set("Content-Type", "application/json")
		if encoding != "" {
			w.Header().Set("Content-Encoding", encoding)
		}
		_, _ = io.WriteString(w, wires[encoding])
	})
	for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/responses", labPath} {
		for encoding, want := range wires {
			got := r.ask(t, http.MethodPost, path, question, "X-Want", encoding)
			if got.body != want || got.Header.Get("Content-Encoding") != encoding {
				t.Errorf("%s in %q: %q %v", path, encoding, got.body, got.Header)
			}
		}
	}
	for _, a := range r.arrived(t, -1) {
		if a.header["Accept-Encoding"] != nil {
			t.Errorf("%s: patrol asks for %q itself", a.uri, a.header["Accept-Encoding"])
		}
	}
}

func showAcceptedEncodings(t *testing.T, r *rig) {
	for i, tt := range []struct{ path, sent, want string }{
		{"/v1/chat/completions", "gzip,  deflate, br, zstd;q=0.1", "gzip,  deflate, br, zstd;q=0.1"},
		{"/v1/chat/completions", "gzip;q=0.5, dcb, dcz, zstd;q=0.2", "gzip;q=0.5, zstd;q=0.2"},
		{"/v1/chat/completions", "compress", "identity"},
		{"/v1/chat/completions", "*", "identity"},
		{"/v1/responses", "dcb, *", "dcb, *"},
	} {
		got := r.ask(t, http.MethodPost, tt.path, question, "Accept-Encoding", tt.sent)
		if sent := r.arrived(t, i+1)[i].header["Accept-Encoding"]; len(sent) != 1 || sent[0] != tt.want {
			t.Errorf("%s, %q: upstream was asked for %q (%d)", tt.path, tt.sent, sent, got.StatusCode)
		}
	}
}
