package filter_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"patrol/proxy/filter"
)

func Example() {
	body := []byte(`{"model":"databricks-claude-sonnet-4-5","tools":[{"type":"function","function":{"name":"bash"}}],"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"hi"}]}]}`)
	header := http.Header{"Content-Type": {"application/json"}}
	body, call := filter.Request(filter.ChatCompletions, "", header, body, nil)
	fmt.Printf("%s\n", body)

	// The request goes upstream, and this comes back.
	res := &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"text/event-stream"}},
		Body: io.NopCloser(strings.NewReader(
			`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"databricks-tool-call","arguments":"{\"name\":\"bash\",\"cmd\":\"ls\"}"}}]}}]}` + "\n\n" +
				`data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n")),
	}
	call.Response(res)
	stream, err := io.ReadAll(res.Body)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%s", stream)
	// Output:
	// {"model":"databricks-claude-sonnet-4-5","tools":[{"type":"function","function":{"name":"bash"}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}
	// data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"bash","arguments":"{\"cmd\":\"ls\"}"}}]}}]}
	//
	// data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}
}
