package filter

import (
	"net/http"
	"slices"
	"testing"
)

// TestAccept: what is asked for can be read.
func TestAccept(t *testing.T) {
	chat, other := Call{api: ChatCompletions}, Call{api: AnthropicMessages}
	for _, tt := range []struct {
		call Call
		sent []string
		want string // instead; "" leaves what was sent
	}{
		{chat, nil, ""},
		{chat, []string{""}, ""},
		{chat, []string{"gzip,deflate ,  BR;q=0.1,zstd"}, ""},
		{chat, []string{"gzip", "br"}, ""},
		{chat, []string{"gzip;q=0.5, dcb, zstd ; q=0.2"}, "gzip;q=0.5, zstd ; q=0.2"},
		{chat, []string{"gzip", "dcz, br,"}, "gzip, br"},
		{chat, []string{"*"}, "identity"},
		{chat, []string{"compress;q=1"}, "identity"},
		{chat, []string{"gzip, *;q=0"}, "gzip"},
		{other, []string{"dcb"}, ""},
		{Call{}, []string{"dcb"}, ""},
	} {
		h := http.Header{"Accept-Encoding": slices.Clone(tt.sent)}
		if got := tt.call.Accept(h); got != tt.want || !slices.Equal(h["Accept-Encoding"], tt.sent) {
			t.Errorf("%q became %q, want %q", tt.sent, got, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { chat.Accept(http.Header{"Accept-Encoding": {"gzip, br"}}) }); n > 2 {
		t.Errorf("%v allocations where there is nothing to do", n)
	}
}
