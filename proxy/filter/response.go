package filter

import "net/http"

// Response makes res, the answer to the call, one that filters its body, if the
// call needs that and the body is of a kind that can be filtered. It changes
// res.Body, res.Header and res.ContentLength, and never fails. It may be called
// by httputil.ReverseProxy's ModifyResponse.
//
// A stream of events is filtered as it is read: an event leaves in the Read in
// which its last byte came. A JSON body is read here, to its end.
func (c Call) Response(res *http.Response) {
	_ = res
}
