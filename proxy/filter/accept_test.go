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
		call       Call
		sent, want []string
	}{
		{chat, nil, nil},
		{chat, []string{""}, []string{""}},
		{chat, []string{"gzip,deflate ,  BR;q=0.1,zstd"}, []string{"gzip,deflate ,  BR;q=0.1,zstd"}},
		{chat, []string{"gzip", "br"}, []string{"gzip", "br"}},
		{chat, []string{"gzip;q=0.5, dcb, zstd ; q=0.2"}, []string{"gzip;q=0.5, zstd ; q=0.2"}},
		{chat, []string{"gzip", "dcz, br,"}, []string{"gzip, br"}},
		{chat, []string{"*"}, []string{"identity"}},
		{chat, []string{"compress;q=1"}, []string{"identity"}},
		{chat, []string{"gzip, *;q=0"}, []string{"gzip"}},
		{other, []string{"dcb"}, []string{"dcb"}},
		{Call{}, []string{"dcb"}, []string{"dcb"}},
	} {
		h := http.Header{}
		if tt.sent != nil {
			h["Accept-Encoding"] = slices.Clone(tt.sent)
		}
		tt.call.Accept(h)
		if !slices.Equal(h["Accept-Encoding"], tt.want) {
			t.Errorf("%q became %q, want %q", tt.sent, h["Accept-Encoding"], tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { chat.Accept(http.Header{"Accept-Encoding": {"gzip, br"}}) }); n > 2 {
		t.Errorf("%v allocations where there is nothing to do", n)
	}
}
