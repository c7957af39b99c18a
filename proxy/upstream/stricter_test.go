package upstream_test

import (
	"regexp"
	"sync/atomic"
)

// A difference is wanted between what this client and http.Transport make of answers.
type difference struct {
	names *regexp.Regexp // of the answers; the whole name
	why   string
	met   atomic.Bool
}

func differs(names, why string) *difference {
	return &difference{names: regexp.MustCompile("(?s)^(?:" + names + ")$"), why: why}
}

// find returns why the answer differs, nil if it mustn't.
func find(all []*difference, name string) *difference {
	for _, d := range all {
		if d.names.MatchString(name) {
			return d
		}
	}
	return nil
}

// stricter: this client refuses what http.Transport accepts.
var stricter = []*difference{
	differs(`.*Content-Length: 5\r\n[Cc]ontent-[Ll]ength: +5\b.*`+`|length: 5\r\n[Cc]ontent-[Ll]ength: +5`, "RFC 9112, 6.3: a repeated length may be refused; it says that something before us is confused"),
	differs(`coding (and|after) length: 1\.1 .*`, "RFC 9112, 6.3: a length with a coding ought to be handled as an error"),
	differs(`coding: 1\.0 .*|connection: 1\.0 .*Transfer-Encoding: chunked.*`, "RFC 9112, 6.1: HTTP/1.0 with a coding is to be treated as faulty framing"),
	differs(`coding: 1\.1 \r\n chunked`, obsFold),
	differs(`interim.*: .*101 Switching.*`, "nobody has asked for another protocol"),
	differs(`interim: . times HTTP/1\.1 100 Continue\n\n`, bareLF),
	differs(`trailer.*: X-T : v\r\n`, "RFC 9112, 5.1: a space before the colon is to be refused or removed; it has led to smuggling"),
	differs(`trailer.*: X-T: a\r\n b\r\n`, obsFold),
	differs(`trailer.*: Content-Length: .*`, "a length in a trailer that is no length"),
	differs(`trailer.*: Transfer-Encoding: gzip.*`, "a coding that isn't known"),
	differs(`status line: HTTP/1\.1 (0..|\+20) x|status line: HTTP/1\.1  200 OK`, "RFC 9112, 4: a space and a status of three digits, from 100"),
	differs(`status line: HTTP/(1\.[29]|2\.0|0\.9|3\.0) 200 OK`, "we speak HTTP/1.1 and 1.0"),
	differs(`no body: (GET|POST) (200|404) (|hello|5\r\nhello.*|0\r\n\r\n)|connection: 1\.1 .*\r\nhello`, "HTTP/1.1 without a length and without close: an end and a cut would look the same"),
	differs(`field: X-A : b|field: X A: b`, "RFC 9112, 5.1: no space in a name or before the colon"),
	differs(`field: X-A:.*\r\n[ \t].*`, obsFold),
	differs(`chunks: (8000000000000000|ffffffffffffffff)\r\nhello`, "a chunk's size that is no int64 is refused before its data"),
	differs(`size: (a value of 300 KiB|1,001 fields|17 with 1xx)`, "our limits are lower"),
	differs("byte: .*[\x00\r\v\x7f] at [45]", "RFC 9112, 4: no control byte in a reason"),
	differs("byte: \r?\n at .*", bareLF),
	differs(`byte:   at (2|7|8|13|29)`, "RFC 9112, 4 and 5: no second space before the status, none in a name"),
	differs("byte: .* at (19|20)", "RFC 9112, 7.1.1: no control byte in a chunk's extension"),
}

// laxer: http.Transport refuses what is valid.
var laxer = []*difference{
	differs("chunks: 5 ;a=b.*|byte: [ \t] at 18", "RFC 9112, 7.1.1: a space may stand before a chunk's extension"),
	differs("size: a long extension|size: a trailer of 5 KiB", "its buffer of 4 KiB is its limit"),
}

// notReused: this client closes the connection, http.Transport uses it again.
var notReused = []*difference{
	differs(`no body: \S+ 204 (Content-Length: 5|Transfer-Encoding: chunked)\r\n`, "a body that must not come may come all the same"),
	differs(`connection: 1\.0 .*`, "HTTP/1.0 keeps no connection with us"),
}

const (
	obsFold = "RFC 9112, 5.2: obs-fold in an answer is to be refused or replaced"
	bareLF  = "RFC 9112, 2.2: a line ends with CRLF; who takes less sees other fields than we do"
)
