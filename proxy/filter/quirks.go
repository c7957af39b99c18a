package filter

import (
	"slices"
	"strconv"
	"strings"
)

// quirk is something that some models refuse, and what the filter does about it.
type quirk struct {
	matches func(name string) bool // the name is in lower case

	drop        []string // members of the request that are removed
	cutSchemas  bool     // what Gemini refuses is removed from the tools' schemas: see schema.go
	dropCallIDs bool     // id is removed from functionCall and functionResponse

	why    string // how the model refuses it
	report string // where it was reported in public
}

// quirkTable holds all that is known about single models. What isn't in it is sent
// on, such as reasoning_effort, which Databricks documents for GPT-5 and gpt-oss
// (https://docs.databricks.com/aws/machine-learning/model-serving/query-reason-models).
var quirkTable = []quirk{
	{
		matches: nameContains("gemini"),
		drop:    []string{"stream_options"},
		why:     `400: Unknown name "stream_options" at 'generation_config': Cannot find field.`,
		report:  "https://github.com/aaif-goose/goose/pull/8042",
	},
	{
		matches:    nameContains("gemini"),
		cutSchemas: true,
		why:        `400: Unknown name "exclusiveMinimum" at 'tools[0].function_declarations[0].parameters…': Cannot find field. ($ref: see opencode's pull request 7984)`,
		report:     "https://github.com/danny-avila/LibreChat/pull/13850",
	},
	{
		matches:     nameContains("gemini"),
		dropCallIDs: true,
		why:         `400: Unknown name "id" at 'contents[1].parts[0].function_call': Cannot find field.`,
		report:      "https://github.com/JetBrains/koog/issues/735",
	},
	{
		matches: nameContains("gpt"),
		drop:    []string{"reasoningSummary"},
		why:     `400: Unknown parameter: 'reasoningSummary'. OpenCode sends it.`,
		report:  "https://github.com/BerriAI/litellm/pull/24468",
	},
	{
		matches: opusSince(4, 7),
		drop:    []string{"temperature", "top_p", "top_k"},
		why:     "400: `temperature` is deprecated for this model. (4.8: https://github.com/The-PR-Agent/pr-agent/issues/2456)",
		report:  "https://github.com/pollinations/pollinations/pull/11319",
	},
}

// quirkSet is a set of quirks: bit i stands for quirkTable[i].
type quirkSet uint

// quirksOf returns the quirks of the model with this name.
func quirksOf(model string) quirkSet {
	var set quirkSet
	name := strings.ToLower(model)
	for i := range quirkTable {
		if quirkTable[i].matches(name) {
			set |= 1 << i
		}
	}
	return set
}

// some reports whether f is true for one of the quirks.
func (set quirkSet) some(f func(q *quirk) bool) bool {
	for i := range quirkTable {
		if set&(1<<i) != 0 && f(&quirkTable[i]) {
			return true
		}
	}
	return false
}

func (set quirkSet) cutsSchemas() bool {
	return set.some(func(q *quirk) bool { return q.cutSchemas })
}

func (set quirkSet) dropsCallIDs() bool {
	return set.some(func(q *quirk) bool { return q.dropCallIDs })
}

// drops reports whether the request's member with this key is removed.
func (set quirkSet) drops(key []byte) bool {
	return set.some(func(q *quirk) bool { return slices.Contains(q.drop, string(key)) })
}

// nameContains matches models by a part of their name.
func nameContains(part string) func(string) bool {
	return func(name string) bool { return strings.Contains(name, part) }
}

// opusSince matches Claude Opus of this version and later ones:
// databricks-claude-opus-4-7, claude-opus-4.8, claude-opus-5, but not
// claude-opus-4-20250514, which is 4.0.
func opusSince(major, minor int) func(string) bool {
	return func(name string) bool {
		_, version, ok := strings.Cut(name, "claude-opus-")
		if !ok {
			return false
		}
		have, rest := leadingNumber(version)
		if have != major {
			return have > major
		}
		if len(rest) == 0 || rest[0] != '-' && rest[0] != '.' {
			return false
		}
		have, _ = leadingNumber(rest[1:])
		return have >= minor
	}
}

// leadingNumber reads the version number at the start of s. A number of more than
// two digits is a date and read as 0.
func leadingNumber(s string) (n int, rest string) {
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	if end > 2 {
		return 0, s[end:]
	}
	n, _ = strconv.Atoi(s[:end])
	return n, s[end:]
}

// dropCallIDs removes the ids from Gemini's function calls and responses, whose keys
// have two spellings: JSON's and protobuf's.
func (r *request) dropCallIDs() {
	for content := range r.elements(r.get(root, "contents")) {
		for part := range r.elements(r.get(content, "parts")) {
			for k, v := range r.members(part) {
				switch string(r.stringValue(k)) {
				case "functionCall", "function_call", "functionResponse", "function_response":
					r.edits.dropMembers(&r.document, v, func(k, _ int) bool { return r.equals(k, "id") })
				}
			}
		}
	}
}
