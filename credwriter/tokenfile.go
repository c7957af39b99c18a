package credwriter

import (
	"strings"

	"patrol/rotator/pat"
)

// tokenFile is a file that holds a token and nothing else. It is written if it is
// missing or empty, or holds a token that Owner.Ours knows.
type tokenFile struct{ owner Owner }

// NewTokenFile returns the file at path, which is made if it is missing.
func NewTokenFile(path string, o Owner) *File {
	return &File{name: "file", path: path, owner: o, create: true, format: tokenFile{o}}
}

func (f tokenFile) Set(text []byte, token string, _ func(hash string) bool) (Edit, error) {
	value := strings.TrimSpace(string(text))
	if value != "" && value != token && !f.owner.ours(value) {
		return Edit{Left: []string{"what it holds isn't patrol's"}}, nil
	}
	return Edit{Text: []byte(token + "\n")}, nil
}

func (tokenFile) Remove(text []byte, gone func(hash string) bool) (Edit, error) {
	switch value := strings.TrimSpace(string(text)); {
	case value == "":
		return Edit{}, nil
	case !gone(pat.Hash(value)):
		return Edit{Left: []string{"what it holds isn't a token that patrol made"}}, nil
	}
	return Edit{Text: []byte{}}, nil
}

func (tokenFile) Values(text []byte) ([]string, error) {
	return []string{strings.TrimSpace(string(text))}, nil
}
