package guard

import (
	"net/http"
	"slices"
	"strings"
)

// pageReason returns why a request is refused whose header says that a web page made
// it, or the browser for a page or a worker; "" if it doesn't. Browsers let no page
// leave these fields out or change them.
//
// Sec-Fetch-Site: none alone doesn't mean a person: programs that are built on
// Chromium (VS Code) send it too. A person's own navigation says so in Sec-Fetch-Mode.
func pageReason(h http.Header, asked Asked) reason {
	sites := h["Sec-Fetch-Site"]
	switch {
	case len(h["Origin"]) > 0:
		return reasonOrigin
	case len(h["Service-Worker"]) > 0:
		return reasonWorker
	case len(sites) > 0 && (len(sites) > 1 || sites[0] != "none"):
		return reasonFetchSite
	case asked == Upstream && slices.ContainsFunc(h["Sec-Fetch-Mode"], isNavigate):
		return reasonNavigation
	}
	return ""
}

func isNavigate(mode string) bool { return strings.EqualFold(mode, "navigate") }

// isBrowser reports whether the client calls itself a browser.
//
// Browsers send Sec-Fetch-Site only to https and to loopback hosts, and no Origin when
// they load an image. So a page's request to another name may have neither.
func isBrowser(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "Mozilla/") }

// originHost returns the host and port that a request's Origin names, for a log: ""
// if there are several, or if it isn't an http or https origin.
func originHost(origins []string) string {
	if len(origins) != 1 {
		return ""
	}
	if a, ok := strings.CutPrefix(origins[0], "http://"); ok {
		return a
	}
	a, _ := strings.CutPrefix(origins[0], "https://")
	return a
}
