package upstream_test

import (
	"fmt"
	"strings"
)

// A script is an answer that a server gives to a request.
type script struct {
	name, text string
	method     string // of the request; "" is GET
	stray      bool   // there is something after its end
}

// scripts returns answers of all kinds: well-formed, odd and hostile ones.
func scripts() []script {
	var all []script
	add := func(group, detail, text string) {
		all = append(all, script{name: group + ": " + detail, text: text})
	}
	for _, line := range statusLines {
		add("status line", line, line+"\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok")
	}
	for _, field := range fieldLines {
		add("field", field, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+field+"\r\nX-Last: z\r\n\r\nok")
	}
	for _, value := range lengths {
		add("length", value, "HTTP/1.1 200 OK\r\nContent-Length: "+value+"\r\n\r\nhello")
	}
	for _, value := range codings {
		for _, version := range []string{"1.1", "1.0"} {
			head := "HTTP/" + version + " 200 OK\r\nTransfer-Encoding: " + value + "\r\n"
			add("coding", version+" "+value, head+"\r\n5\r\nhello\r\n0\r\n\r\n")
			if version == "1.0" {
				continue
			}
			add("coding and length", version+" "+value, head+"Content-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
			add("coding after length", version+" "+value, "HTTP/"+version+" 200 OK\r\nContent-Length: 15\r\nTransfer-Encoding: "+value+"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
		}
	}
	for _, body := range chunks {
		add("chunks", body, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
	}
	for _, trailer := range trailers {
		add("trailer", trailer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"+trailer+"\r\n")
		add("trailer announced", trailer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, X-U\r\n\r\n2\r\nok\r\n0\r\n"+trailer+"\r\n")
	}
	for _, connection := range connections {
		for _, framing := range framings {
			for _, version := range []string{"1.1", "1.0"} {
				add("connection", version+" "+connection+framing, "HTTP/"+version+" 200 OK\r\n"+connection+framing)
			}
		}
	}
	all = append(all, withBadBytes()...)
	all = append(all, withoutBody()...)
	all = append(all, withInterim()...)
	all = append(all, withSize()...)
	all = append(all, otherProtocols()...)
	for _, text := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", okAnswer + okAnswer, okAnswer + "\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx"} {
		all = append(all, script{name: "stray bytes: " + text, text: text, stray: true})
	}
	return all
}

var statusLines = []string{
	"HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.1 200 OK fine", "HTTP/1.1 404 Not Found", "HTTP/1.1 599 x",
	"HTTP/1.1 600 x", "HTTP/1.1 999 x", "HTTP/1.1 099 x", "HTTP/1.1 000 x", "HTTP/1.1 20 x", "HTTP/1.1 2000 x", "HTTP/1.1 2 OK",
	"HTTP/1.1 -20 x", "HTTP/1.1 +20 x", "HTTP/1.1 0x1 x", "HTTP/1.1 abc x", "HTTP/1.1 ２00 x", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK",
	"HTTP/1.1 200\tOK", "HTTP/1.1 200 OK ", "HTTP/1.1200 OK", "HTTP/1.1 200OK", "HTTP/1.1", "HTTP/1.1 ", " HTTP/1.1 200 OK", "\r\nHTTP/1.1 200 OK", "\nHTTP/1.1 200 OK",
	"http/1.1 200 OK", "HTTP/1.2 200 OK", "HTTP/1.9 200 OK", "HTTP/1.10 200 OK", "HTTP/1.x 200 OK", "HTTP/1. 200 OK", "HTTP/1 200 OK", "HTTP/2.0 200 OK", "HTTP/2 200", "HTTP/0.9 200 OK",
	"HTTP/3.0 200 OK", "HTTPS/1.1 200 OK", "HTTP /1.1 200 OK", "HTTP/01.1 200 OK", "HTTP/1.1 200 \xfcml", "HTTP/1.1 200 ümlaut", "GET / HTTP/1.1", "200 OK", "X-A: b", "",
}

var fieldLines = []string{
	"X-A: b", "X-A:b", "X-A:", "X-A: ", "X-A:\tb", "X-A:  b  ", "X-A: b\t", "x-a: lower", "X_A: b", "X-A: a\r\nX-A: b", "X-A: a\r\nx-a: b\r\nX-a: ",
	"X-A : b", "X-A\t: b", " X-A: b", "\tX-A: b", "X-A: a\r\n b", "X-A: a\r\n\tb", "X-A: a\r\n ", "X-A: a\r\n \r\n b", "X-A:\r\n b", "X A: b", ": b", ":", "X-A", "X-A b", "X-(A): b", "X-A;: b", "X-\xc3\xa4: b", "X-A: \xc3\xa4",
	"X-A: \xff\xfe", "\"X\": b", "X-A: a:b:c", "X-A: \"a\\\"b\"", "!#$%&'*+-.^_`|~: b", "X-A: b\r\n\r\nX", "X-A\r\n: b", "Date: now", "Host: x", "Set-Cookie: a=b\r\nSet-Cookie: c=d",
	"Proxy-Authenticate: Basic", "Proxy-Connection: close", "Upgrade: h2c", "Te: trailers", "Trailer: X-T", "Keep-Alive: timeout=5", "Keep-Alive: timeout=x, max=-1", "Location: /a b", "X-A: =?utf-8?q?a?=",
}

var lengths = []string{
	"5", "5 ", "\t5", "05", "0000000000000000005", "+5", "-5", "-0", "5.0", "5e0", "0x5", "5 5", "5,5", "5, 5", "5;a", "5a", "a", "", " ", "٥", "4_0",
	"5\r\nContent-Length: 5", "5\r\nContent-Length: 4", "5\r\ncontent-length:  5", "5\r\nContent-Length:", "5\r\nContent-Length: +5", "\r\nContent-Length: 5", "6", "5\r\n 0",
	"9223372036854775807", "9223372036854775808", "18446744073709551616", "18446744073709551621", "99999999999999999999999999",
}

var codings = []string{
	"chunked", "Chunked", "CHUNKED", " chunked ", "chunked\t", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked", "gzip", "identity", "identity, chunked", "chunked;q=1", "chunked,", ",chunked", "", "xchunked",
	"chunked\r\nTransfer-Encoding: identity", "gzip\r\nTransfer-Encoding: chunked", "\"chunked\"", "\vchunked", "chunked x", "\r\n chunked", "chunKed",
}

var chunks = []string{
	"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n", "0A\r\n0123456789\r\n0\r\n\r\n", "05\r\nhello\r\n00\r\n\r\n", "0000000000000005\r\nhello\r\n0\r\n\r\n", "00000000000000005\r\nhello\r\n0\r\n\r\n",
	"5 \r\nhello\r\n0\r\n\r\n", "5\t\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n 0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "-0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5_0\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n", "\r\n0\r\n\r\n",
	"5;a=b\r\nhello\r\n0\r\n\r\n", "5;\r\nhello\r\n0\r\n\r\n", "5 ;a=b\r\nhello\r\n0;x\r\n\r\n", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", "5;a\tb\r\nhello\r\n0\r\n\r\n", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "5;\r\r\nhello\r\n0\r\n\r\n", "5,a\r\nhello\r\n0\r\n\r\n", "5 a\r\nhello\r\n0\r\n\r\n", ";a\r\nhello\r\n0\r\n\r\n",
	"5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\r\nhello\r\n0\r\n\r\n", "5\n\rhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\r\n\r\n0\r\n\r\n", "5\r\nhelloo\r\n0\r\n\r\n", "5\r\nhell\r\n0\r\n\r\n", "5\r\nhello \r\n0\r\n\r\n", "5\r\nhello\r\n0\n\r\n", "5\r\nhello\r\n0\r\n\n", "5\r\nhello\r\n0\r\n\r", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0", "5\r\nhello\r\n", "5\r\nhello", "5\r\nhel", "5\r\n", "5", "",
	"7fffffffffffffff\r\nhello", "8000000000000000\r\nhello", "ffffffffffffffff\r\nhello", "10000000000000000\r\nhello", "10000000000000005\r\nhello\r\n0\r\n\r\n", "fffffffffffffffffffff\r\nhello", "100\r\nhello\r\n0\r\n\r\n",
	"5\r\nhello\r\n0\r\n\r\n\r\n"[:17], "1\r\n\n\r\n1\r\n\r\r\n0\r\n\r\n", "2\r\n\r\n\r\n0\r\n\r\n", "1;" + strings.Repeat("x", 200) + "\r\ny\r\n0\r\n\r\n",
	"5\r\nhello\r\n" + strings.Repeat("0", 15) + "\r\n\r\n", "5\r\nhello\r\nHTTP/1.1 200 OK\r\n\r\n", "hello",
}

var trailers = []string{
	"", "X-T: v\r\n", "X-T: v\r\nX-U: w\r\n", "x-t:v\r\n", "X-T:\r\n", "X-T: a\r\nX-T: b\r\n", "X-V: other\r\n", "X-T : v\r\n", " X-T: v\r\n", "X-T: a\r\n b\r\n", "X-T\r\n", ": v\r\n", "X-T: v\n", "X-T: v\r", "X-T: a\rb\r\n", "X-T: a\x00b\r\n", "X-T: \xff\r\n",
	"Content-Length: 5\r\n", "Content-Length: x\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n", "Trailer: X-T\r\n", "Connection: close\r\n", "Host: x\r\n", "Content-Type: a\r\n", "Authorization: x\r\n", "Set-Cookie: a\r\n", "If-Match: x\r\n", "Keep-Alive: timeout=1\r\n", "Te: x\r\n", "Cache-Control: x\r\n", "Content-Range: x\r\n", "HTTP/1.1 200 OK\r\n",
}

var connections = []string{
	"", "Connection: keep-alive\r\n", "Connection: Keep-Alive\r\nKeep-Alive: timeout=5, max=10\r\n", "Connection: close\r\n", "Connection: Close\r\n", "Connection: keep-alive, close\r\n", "Connection: keep-alive\r\nConnection: close\r\n", "Connection: x-a\r\nX-A: b\r\n", "Connection: X-A,, x-b ,\r\nX-A: b\r\nX-B: c\r\nX-C: d\r\n",
	"Connection: \r\n", "Connection: x close\r\n", "Proxy-Connection: close\r\n", "Proxy-Connection: keep-alive\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "Connection: X-A\r\nClose: yes\r\nX-A: 1\r\n",
}

var framings = []string{"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "\r\nhello", "Content-Length: 0\r\n\r\n"}

// withBadBytes returns answers with a byte too many in each place.
func withBadBytes() []script {
	const text = "H^TTP/1.1^ 2^00 O^K^\r\n^X^-A^:^ a^b^\r^\nTransfer-Encoding^: chun^ked\r\n^\r^\n^2^;a=^b^\r^\no^k^\r^\n^0^\r^\n^X-T^: ^c^d^\r\n^\r^\n"
	var all []script
	parts := strings.Split(text, "^")
	for _, bad := range []string{"\r", "\n", "\x00", "\x7f", "\t", "\v", " ", "\xff", "\r\n", ":", ";"} {
		for at := 1; at < len(parts); at++ {
			all = append(all, script{
				name:  fmt.Sprintf("byte: %s at %d", bad, at),
				text:  strings.Join(parts[:at], "") + bad + strings.Join(parts[at:], ""),
				stray: true, // some end sooner so
			})
		}
	}
	return all
}

// withoutBody returns answers that have no body, whatever they say.
func withoutBody() []script {
	var all []script
	for _, method := range []string{"GET", "HEAD"} {
		for _, status := range []string{"200", "204", "304", "404"} {
			for _, framing := range []string{"", "Content-Length: 0\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: x\r\n", "Transfer-Encoding: gzip\r\n", "Connection: close\r\n"} {
				for _, body := range []string{"", "hello", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n"} {
					all = append(all, script{
						name: "no body: " + method + " " + status + " " + framing + body, method: method,
						text: "HTTP/1.1 " + status + " x\r\n" + framing + "\r\n" + body, stray: body != "",
					})
				}
			}
		}
	}
	return all
}

// withInterim returns answers after some with 1xx.
func withInterim() []script {
	var all []script
	for _, first := range []string{
		"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Early: 1\r\n\r\n", "HTTP/1.1 199 x\r\n\r\n", "HTTP/1.0 100 Continue\r\n\r\n",
		"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n", "HTTP/1.1 100\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 100 Continue\n\n", "HTTP/1.1 100 Continue\r\nX\r\n\r\n",
	} {
		for _, times := range []int{1, 3} {
			text := strings.Repeat(first, times) + okAnswer
			all = append(all, script{name: fmt.Sprintf("interim: %d times %s", times, first), text: text})
		}
		all = append(all, script{name: "interim alone: " + first, text: first})
	}
	return all
}

func withSize() []script {
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int) string { return strings.Repeat("X-A: b\r\n", n) }
	var all []script
	add := func(name, text string) { all = append(all, script{name: "size: " + name, text: text}) }
	add("a value of 4 KiB", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: "+long(4<<10)+"\r\n\r\nok")
	add("a value of 200 KiB", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: "+long(200<<10)+"\r\n\r\nok")
	add("a value of 300 KiB", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: "+long(300<<10)+"\r\n\r\nok")
	add("a name of 5 KiB", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+long(5<<10)+": a\r\n\r\nok")
	add("a reason of 5 KiB", "HTTP/1.1 200 "+long(5<<10)+"\r\nContent-Length: 2\r\n\r\nok")
	add("900 fields", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+many(900)+"\r\nok")
	add("1,001 fields", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+many(1000)+"\r\nok")
	add("a line without an end", "HTTP/1.1 200 OK\r\nX-A: "+long(300<<10))
	add("16 with 1xx", strings.Repeat("HTTP/1.1 102 x\r\n\r\n", 16)+okAnswer)
	add("17 with 1xx", strings.Repeat("HTTP/1.1 102 x\r\n\r\n", 17)+okAnswer)
	add("a body of 100 KiB", "HTTP/1.1 200 OK\r\nContent-Length: 102400\r\n\r\n"+long(100<<10))
	add("a chunk of 100 KiB", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n19000\r\n"+long(100<<10)+"\r\n0\r\n\r\n")
	add("5,000 chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1\r\nx\r\n", 5000)+"0\r\n\r\n")
	add("a long extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"+long(5000)+"\r\nx\r\n0\r\n\r\n")
	add("long extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1;"+long(1000)+"\r\nx\r\n", 100)+"0\r\n\r\n")
	add("short extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1;a=b\r\nx\r\n", 1000)+"0\r\n\r\n")
	add("a trailer of 3 KiB", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: "+long(3<<10)+"\r\n\r\n")
	add("a trailer of 5 KiB", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: "+long(5<<10)+"\r\n\r\n")
	add("a trailer of 300 KiB", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"+strings.Repeat("X-T: "+long(1000)+"\r\n", 300)+"\r\n")
	add("a trailer of 1,001 fields", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"+many(1001)+"\r\n")
	return all
}

// otherProtocols returns what isn't HTTP.
func otherProtocols() []script {
	var all []script
	for _, text := range []string{
		"", "\r\n", "\n", "\x00", "SSH-2.0-OpenSSH_9.9\r\n", "220 mail.example.com ESMTP\r\n", "+OK ready\r\n", "* OK IMAP4rev1\r\n", "ICY 200 OK\r\n\r\n", "<html>Bad Request</html>", "RFB 003.008\n", "\x16\x03\x01\x02\x00\x01\x00", "\x15\x03\x03\x00\x02\x02\x28", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "HTTP", "HTTP/1.1 400", "H", "\xef\xbb\xbfHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		all = append(all, script{name: fmt.Sprintf("protocol: %q", text), text: text})
	}
	return all
}
