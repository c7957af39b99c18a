package filter

import (
	"bytes"
	"slices"
)

// request is the work on one request.
type request struct {
	doc
	edits edits
	rows  rows // the quirks of its model
	names toolNames

	// What orphan.go and blank.go find out, before anything is edited.
	msgs       []message
	gone       []int  // the blocks that go, as nodes, in order
	asks       []call // the calls of the turn that is looked at
	unanswered []call // the calls that want an answer, in order
	doubt      bool   // an answer in that turn doesn't say to which call

	noSystem bool // the top-level system prompt goes
	schema   schema
	scratch  []byte // where the names are put together

	// Those of the request before.
	lastModel string
	lastNames string
}

// Working memory larger than this isn't kept: one large body must not cost its
// size for ever.
const (
	keepNodes = 1 << 17 // 2 MB
	keepText  = 1 << 18
)

func (r *request) release() {
	if cap(r.nodes) > keepNodes || cap(r.edits.text) > keepText || cap(r.schema.out) > keepText || cap(r.scratch)+len(r.lastModel) > keepText {
		return
	}
	r.src = nil
	r.edits.reset()
	r.rows, r.names, r.noSystem = 0, "", false
	r.msgs, r.gone, r.unanswered, r.asks = r.msgs[:0], r.gone[:0], r.unanswered[:0], r.asks[:0]
	requests.Put(r)
}

// filter records the edits of the request.
func (r *request) filter(api API, model string) {
	if r.kind(0) != object {
		return
	}
	if m := r.getString(0, "model"); model == "" && m != 0 {
		r.lastModel = again(r.lastModel, r.text(m))
		model = r.lastModel
	}
	r.rows = quirksOf(model)
	if tools := r.get(0, "tools"); tools != 0 && r.kind(tools) == array {
		if api == ChatCompletions {
			r.names = r.readNames(tools)
		}
		if r.rows.schemas() {
			r.cleanTools(tools)
		}
	}
	if api == GeminiGenerate {
		if contents := r.get(0, "contents"); contents != 0 && r.rows.callIDs() {
			r.dropCallIDs(contents)
		}
	} else {
		if api == AnthropicMessages {
			r.systemPrompt()
		}
		if list := r.get(0, "messages"); list != 0 && r.kind(list) == array {
			r.messages(list)
		}
	}
	r.dropKeys()
}

// again returns text as a string, the last one if that is the same: an agent
// names the same model and tools in each request.
func again(last string, text []byte) string {
	if string(text) == last {
		return last
	}
	return string(text)
}

// dropKeys takes the members of the request itself that the model refuses, or
// that have become empty.
func (r *request) dropKeys() {
	if r.rows == 0 && !r.noSystem {
		return
	}
	p := pruner{e: &r.edits}
	for k, v := range r.members(0) {
		key := r.text(k)
		if r.rows.drops(key) || r.noSystem && string(key) == "system" {
			p.drop(r.start(k), r.end(v))
		} else {
			p.keep(r.start(k), r.end(v))
		}
	}
	p.finish()
}

// messages applies the rules for messages: first it finds out what goes and
// what is to be said, then it records the edits.
func (r *request) messages(list int) {
	for n := range r.elements(list) {
		r.msgs = append(r.msgs, message{node: n})
		r.readMessage(&r.msgs[len(r.msgs)-1])
	}
	r.findOrphans()
	r.dropBlank()
	if !slices.ContainsFunc(r.msgs, func(m message) bool { return !m.drop }) {
		return // an empty list would be refused where a blank message isn't
	}
	r.editMessages()
}

type role uint8

const (
	unknownRole role = iota // it isn't understood, and stays as it is
	systemRole
	userRole
	assistantRole
	toolRole
)

// message is one of the request's messages, as far as the rules need it.
type message struct {
	node    int
	role    role
	content int  // 0 if it has none
	said    bool // it says something elsewhere, such as a refusal
	calls   int  // OpenAI's tool_calls, 0 if there are none
	id      int  // of the call that a tool message answers; 0 if it isn't known

	// left is how many things to read its content holds once the blank and
	// orphaned blocks are out of it: blocks, or one for a string.
	left  int
	prune bool // blocks of it go, or change
	drop  bool
}

// call is a tool call of an assistant message.
type call struct {
	msg      int // the message, as an index into msgs
	id       int // its id, as a node
	block    bool
	answered bool
}

// The members of a message that say what it is.
const (
	msgRole = iota
	msgContent
	msgCalls
	msgCallID
	msgFunction // with it and the next two it says something without content
	msgRefusal
	msgAudio
	msgMembers
)

func messageKey(key []byte) int {
	switch string(key) {
	case "role":
		return msgRole
	case "content":
		return msgContent
	case "tool_calls":
		return msgCalls
	case "tool_call_id":
		return msgCallID
	case "function_call":
		return msgFunction
	case "refusal":
		return msgRefusal
	case "audio":
		return msgAudio
	}
	return -1
}

// readMessage finds out what m is. Its role stays unknown if it isn't
// understood.
func (r *request) readMessage(m *message) {
	var v [msgMembers]int
	twice := r.fields(m.node, messageKey, v[:])
	m.content = v[msgContent]
	if twice != 0 || v[msgRole] == 0 || !r.contentKnown(m.content) {
		return
	}
	if c := v[msgCalls]; c != 0 && r.kind(c) == array {
		if r.next(c) > c+1 {
			m.calls = c
		}
	} else if c != 0 && r.kind(c) != null {
		return
	}
	if id := v[msgCallID]; id != 0 && r.kind(id) == str {
		m.id = id
	}
	m.role = r.readRole(v[msgRole])
	for _, extra := range v[msgFunction:] {
		m.said = m.said || m.role == assistantRole && extra != 0 && r.kind(extra) != null
	}
}

func (r *request) readRole(v int) role {
	if r.kind(v) != str {
		return unknownRole
	}
	switch string(r.text(v)) {
	case "system", "developer":
		return systemRole
	case "user":
		return userRole
	case "assistant":
		return assistantRole
	case "tool":
		return toolRole
	}
	return unknownRole
}

// contentKnown reports whether a message's content, 0 if it has none, is of
// a form that the APIs have.
func (r *request) contentKnown(content int) bool {
	if content == 0 {
		return true
	}
	switch r.kind(content) {
	case null, str:
		return true
	case array:
		for b := range r.elements(content) {
			if r.kind(b) != object {
				return false
			}
		}
		return true
	}
	return false
}

type blockKind uint8

const (
	otherBlock blockKind = iota
	textBlock
	toolUse
	toolResult
	doubtful // it may be any of them
)

// block is one of the blocks of a message's content.
type block struct {
	kind    blockKind
	text    int // 0 if it has none, or it is in doubt; as the next two
	id      int // tool_use's id, tool_result's tool_use_id; a string
	content int
}

// The members of a block that the rules need.
const (
	blockType = iota
	blockText
	blockID
	blockUseID
	blockContent
	blockMembers
)

func blockKey(key []byte) int {
	switch string(key) {
	case "type":
		return blockType
	case "text":
		return blockText
	case "id":
		return blockID
	case "tool_use_id":
		return blockUseID
	case "content":
		return blockContent
	}
	return -1
}

func (r *request) readBlock(n int) block {
	var v [blockMembers]int
	twice := r.fields(n, blockKey, v[:])
	one := func(i int) int { // 0 if it stands twice
		if twice&(1<<i) != 0 {
			return 0
		}
		return v[i]
	}
	oneString := func(i int) int {
		if s := one(i); s != 0 && r.kind(s) == str {
			return s
		}
		return 0
	}
	switch {
	case twice&(1<<blockType) != 0:
		return block{kind: doubtful}
	case v[blockType] == 0:
	case r.is(v[blockType], "text"):
		if twice&(1<<blockText) == 0 {
			return block{kind: textBlock, text: v[blockText]}
		}
	case r.is(v[blockType], "tool_use"):
		return block{kind: toolUse, id: oneString(blockID)}
	case r.is(v[blockType], "tool_result"):
		return block{kind: toolResult, id: oneString(blockUseID), content: one(blockContent)}
	}
	return block{}
}

// toolNames are the names of a request's tools, each between two NULs, in one
// string: one allocation, for a list that is hardly ever asked.
type toolNames string

func (t toolNames) has(name []byte) bool {
	if len(name) == 0 || bytes.IndexByte(name, 0) >= 0 {
		return false
	}
	for rest := t; len(rest) > 1; {
		rest = rest[1:]
		end := 0
		for rest[end] != 0 {
			end++
		}
		if string(rest[:end]) == string(name) {
			return true
		}
		rest = rest[end:]
	}
	return false
}

func (r *request) readNames(tools int) toolNames {
	names := append(r.scratch[:0], 0)
	for t := range r.elements(tools) {
		if fn := r.get(t, "function"); fn != 0 {
			t = fn
		}
		name := r.getString(t, "name")
		if name == 0 {
			continue
		}
		s := r.text(name)
		if string(s) == wrapper {
			return "" // a call under this name is what it seems to be
		}
		if len(s) > 0 && bytes.IndexByte(s, 0) < 0 {
			names = append(append(names, s...), 0)
		}
	}
	r.scratch = names
	r.lastNames = again(r.lastNames, names)
	return toolNames(r.lastNames)
}
