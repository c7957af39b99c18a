package filter

import (
	"bytes"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// hex4 reads four hexadecimal digits.
func hex4(s []byte) (r rune, ok bool) {
	var b [2]byte
	if len(s) < 4 {
		return 0, false
	}
	_, err := hex.Decode(b[:], s[:4])
	return rune(b[0])<<8 | rune(b[1]), err == nil
}

// The characters of which JSON has an escape with a letter, and their letters.
const (
	escapedChars  = "\b\f\n\r\t"
	escapeLetters = "bfnrt"
)

// longestEscape is how many bytes an escape has, at most, for each byte that it stands
// for.
const longestEscape = len(`\u0000`)

// escapeLen returns the length of the escape at the start of s, 0 if it is invalid.
func escapeLen(s []byte) int {
	switch {
	case len(s) < 2:
	case strings.IndexByte(`"\/`+escapeLetters, s[1]) >= 0:
		return 2
	case s[1] == 'u':
		if _, ok := hex4(s[2:]); ok {
			return 6
		}
	}
	return 0
}

// unescape returns the character and the length of the escape at the start of s.
// Two escapes that make a surrogate pair are read as one; half a pair is returned
// as it is. Of an invalid escape it returns the backslash.
func unescape(s []byte) (rune, int) {
	switch escapeLen(s) {
	case 0:
		return '\\', 1
	case 2:
		if i := strings.IndexByte(escapeLetters, s[1]); i >= 0 {
			return rune(escapedChars[i]), 2
		}
		return rune(s[1]), 2
	}
	r, _ := hex4(s[2:])
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if low, ok := hex4(s[8:]); ok {
			if both := utf16.DecodeRune(r, low); both != unicode.ReplacementChar {
				return both, 12
			}
		}
	}
	return r, 6
}

// appendUnescaped appends the value of a JSON string, s being what is between its
// quotes. A string that came in pieces may have been cut inside a surrogate pair.
// Half a pair has no valid UTF-8, so it is stored as the three bytes that UTF-8
// would give it, and appendQuoted makes an escape of these again. Invalid UTF-8
// stays as it is.
func appendUnescaped(dst, s []byte) []byte {
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			n := bytes.IndexByte(s[i:], '\\')
			if n < 0 {
				n = len(s) - i
			}
			dst = append(dst, s[i:i+n]...)
			i += n
			continue
		}
		r, n := unescape(s[i:])
		i += n
		if utf16.IsSurrogate(r) {
			dst = append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// appendQuoted appends s, a value that appendUnescaped made, as a JSON string.
func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			if n := strings.IndexByte(escapedChars, c); n >= 0 {
				dst = append(dst, '\\', escapeLetters[n])
			} else {
				dst = appendEscape(dst, rune(c))
			}
		case c == 0xED && i+2 < len(s) && s[i+1]&0xE0 == 0xA0 && s[i+2]&0xC0 == 0x80:
			dst = appendEscape(dst, 0xD000|rune(s[i+1]&0x3F)<<6|rune(s[i+2]&0x3F))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func appendEscape(dst []byte, r rune) []byte {
	return hex.AppendEncode(append(dst, `\u`...), []byte{byte(r >> 8), byte(r)})
}

// isBlankText reports whether s, the inside of a JSON string, is empty or has only
// Unicode white space in it.
func isBlankText(s []byte) bool {
	for i := 0; i < len(s); {
		var r rune
		var n int
		if s[i] == '\\' {
			r, n = unescape(s[i:])
		} else {
			r, n = utf8.DecodeRune(s[i:])
		}
		if !unicode.IsSpace(r) {
			return false
		}
		i += n
	}
	return true
}

// isValidString reports whether s can be the inside of a JSON string.
func isValidString(s []byte) bool {
	for i := 0; i < len(s); {
		n := bytes.IndexByte(s[i:], '\\')
		if n < 0 {
			break
		}
		i += n
		n = escapeLen(s[i:])
		if n == 0 {
			return false
		}
		i += n
	}
	return !hasControl(s)
}
