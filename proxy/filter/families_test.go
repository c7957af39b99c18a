package filter

import (
	"strings"

	"patrol/rotator/workspacetest"
)

// families are the model families that the filter's requests are for.
var families = workspacetest.Families()

// apiOf is the API of a family's endpoint.
func apiOf(f workspacetest.Family) API {
	if strings.HasSuffix(f.Path, "/messages") {
		return AnthropicMessages
	}
	return ChatCompletions
}
