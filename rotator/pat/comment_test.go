package pat_test

import (
	"strings"
	"testing"

	"patrol/rotator/pat"
)

func TestComment(t *testing.T) {
	const nonce = "0123456789abcdef"
	if instance, n, ok := pat.ParseComment(pat.Comment("laptop-1", nonce)); instance != "laptop-1" || n != nonce || !ok {
		t.Errorf("%q, %q, %v", instance, n, ok)
	}
	for _, s := range []string{
		"", "CI", "patrol", "patrol/x", "patrol//" + nonce, "patrol/x/", "patrol/x/y/" + nonce, "patrol/x/" + nonce + "0",
		"patrol/x/" + strings.ToUpper(nonce), "patrol/x/" + nonce[1:], " patrol/x/" + nonce, "patrol/x/" + nonce + "\n",
	} {
		if instance, n, ok := pat.ParseComment(s); ok || instance != "" || n != "" {
			t.Errorf("%q: %q, %q, %v", s, instance, n, ok)
		}
	}
}
