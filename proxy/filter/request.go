package filter

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// request is the work on one request.
type request struct {
	document
	edits  edits
	quirks quirkSet // the quirks of its model
	tools  *toolNames

	// What orphan.go and blank.go find out before anything is edited.
	msgs          []message
	droppedBlocks []int         // nodes, in the order of the text
	turnCalls     []messageCall // the calls of the turn that is being read, sorted by their ids
	unanswered    []messageCall // the calls that need an answer, in order

	dropSystem   bool // the top-level system prompt is dropped
	schemaWriter schemaWriter
	nameBuf      []byte // readToolNames' working memory

	// The model and the tools' names of the request before.
	lastModel string
	lastNames *toolNames
}

// Memory larger than this isn't kept for the next request, so that one large body
// doesn't cost its size for ever.
const (
	maxKeptNodes = 1 << 17 // 2 MB
	maxKeptText  = 1 << 18
)

// release keeps r for the next request.
func (r *request) release() {
	if cap(r.nodes) > maxKeptNodes || cap(r.edits.text) > maxKeptText || cap(r.schemaWriter.out) > maxKeptText || cap(r.nameBuf)+len(r.lastModel) > maxKeptText {
		return
	}
	r.src, r.schemaWriter.keys = nil, nil
	r.edits.reset()
	r.quirks, r.tools, r.dropSystem = 0, nil, false
	r.msgs, r.droppedBlocks, r.unanswered, r.turnCalls = r.msgs[:0], r.droppedBlocks[:0], r.unanswered[:0], r.turnCalls[:0]
	// These point into the body.
	clear(r.unanswered[:cap(r.unanswered)])
	clear(r.turnCalls[:cap(r.turnCalls)])
	requests.Put(r)
}

// applyRules records all edits of the request.
func (r *request) applyRules(api API, model string) {
	if r.kind(root) != object {
		return
	}
	if m := r.getString(root, "model"); model == "" && m != 0 {
		if name := r.stringValue(m); string(name) != r.lastModel {
			r.lastModel = string(name)
		}
		model = r.lastModel
	}
	r.quirks = quirksOf(model)
	tools := r.getArray(root, "tools")
	if tools != 0 && api == ChatCompletions {
		r.tools = r.readToolNames(tools)
	}
	if r.quirks.cutsSchemas() {
		r.schemaWriter.budget, r.schemaWriter.depth = maxEdited(len(r.src)), 0
		r.cleanTools(tools)
	}
	switch api {
	case GeminiGenerate:
		if r.quirks.dropsCallIDs() {
			r.dropCallIDs()
		}
	case AnthropicMessages:
		r.pruneSystemPrompt()
		r.filterMessages()
	case ChatCompletions:
		r.filterMessages()
	}
	r.dropRefusedMembers()
}

// dropRefusedMembers removes the request's members that the model refuses, and a
// system prompt that would be empty.
func (r *request) dropRefusedMembers() {
	if r.quirks == 0 && !r.dropSystem {
		return
	}
	r.edits.dropMembers(&r.document, root, func(k, _ int) bool {
		key := r.stringValue(k)
		return r.quirks.drops(key) || r.dropSystem && string(key) == "system"
	})
}

// filterMessages applies the rules for messages: first it finds out what has to
// change, then it records the edits.
func (r *request) filterMessages() {
	messages := r.get(root, "messages")
	count := 0
	for range r.elements(messages) {
		count++
	}
	r.msgs = slices.Grow(r.msgs, count)
	for n := range r.elements(messages) {
		r.msgs = append(r.msgs, message{node: n})
		r.readMessage(&r.msgs[len(r.msgs)-1])
	}
	r.findOrphans()
	r.dropBlankMessages()
	if !slices.ContainsFunc(r.msgs, func(m message) bool { return !m.dropped }) {
		return // an empty list would be refused, even by models that take blank messages
	}
	r.editMessages()
}

type role uint8

const (
	unknownRole role = iota // the message isn't understood, and stays as it is
	systemRole
	userRole
	assistantRole
	toolRole
)

// message is one of the request's messages, as far as the rules need it.
type message struct {
	node         int
	role         role
	content      int
	hasOtherText bool // another member of it says something, such as a refusal
	toolCalls    int  // OpenAI's tool_calls; 0 if it has none, or an empty list
	callID       int  // the id of the call that a tool message answers; 0 if there is none

	// kept is how many blocks are left in its content without those that are
	// dropped; for a string it is 1, or 0 if that is blank.
	kept       int
	editBlocks bool // some of its blocks are dropped or change
	dropped    bool
}

// messageCall is a tool call of an assistant message.
type messageCall struct {
	message  int    // the message, as an index into msgs
	id       int    // its id, as a node
	value    []byte // the id's value
	inBlock  bool   // it is a tool_use block, not an element of tool_calls
	answered bool
}

// The members of a message that say what it is.
const (
	msgRole = iota
	msgContent
	msgCalls
	msgCallID
	msgFunction // this and the next two say something without content
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

// readMessage reads the members of m. If it isn't understood, its role stays
// unknownRole.
func (r *request) readMessage(m *message) {
	var v [msgMembers]int
	duplicates := r.fields(m.node, messageKey, v[:])
	m.content = v[msgContent]
	if duplicates != 0 || !r.contentUnderstood(m.content) {
		return
	}
	calls := v[msgCalls]
	if r.kind(calls) != array && !r.isNull(calls) {
		return
	}
	if !r.isEmpty(calls) {
		m.toolCalls = calls
	}
	if r.kind(v[msgCallID]) == str {
		m.callID = v[msgCallID]
	}
	m.role = r.readRole(v[msgRole])
	for _, extra := range v[msgFunction:] {
		m.hasOtherText = m.hasOtherText || m.role == assistantRole && !r.isNull(extra)
	}
}

func (r *request) readRole(v int) role {
	if r.kind(v) != str {
		return unknownRole
	}
	switch string(r.stringValue(v)) {
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

// contentUnderstood reports whether a message's content has one of the APIs' forms:
// none, text, or a list of blocks.
func (r *request) contentUnderstood(content int) bool {
	for b := range r.elements(content) {
		if r.kind(b) != object {
			return false
		}
	}
	return r.isNull(content) || r.kind(content) == str || r.kind(content) == array
}

type blockKind uint8

const (
	otherBlock blockKind = iota
	textBlock
	toolUseBlock
	toolResultBlock
	ambiguousBlock // its type occurs twice: it may be any of them
)

// block is one of the blocks of a message's content.
type block struct {
	kind    blockKind
	text    int // this and the next two are 0 if it has none, or if the key occurs twice
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
	duplicates := r.fields(n, blockKey, v[:])
	unique := func(i int) int { // 0 if the key occurs twice
		if duplicates&(1<<i) != 0 {
			return 0
		}
		return v[i]
	}
	uniqueString := func(i int) int {
		if r.kind(unique(i)) == str {
			return v[i]
		}
		return 0
	}
	switch {
	case duplicates&(1<<blockType) != 0:
		return block{kind: ambiguousBlock}
	case r.equals(v[blockType], "text"):
		if duplicates&(1<<blockText) == 0 {
			return block{kind: textBlock, text: v[blockText]}
		}
	case r.equals(v[blockType], "tool_use"):
		return block{kind: toolUseBlock, id: uniqueString(blockID)}
	case r.equals(v[blockType], "tool_result"):
		return block{kind: toolResultBlock, id: uniqueString(blockUseID), content: unique(blockContent)}
	}
	return block{}
}

// toolNames are the names of a request's tools; nil has none. An agent names the same
// tools in each request, so they are kept for the next one.
type toolNames struct {
	list string // with a NUL before, between and after them
	once sync.Once
	set  map[string]bool // what list has, made when a response first asks
}

func (t *toolNames) has(name []byte) bool {
	if t == nil || len(name) == 0 {
		return false
	}
	t.once.Do(func() {
		t.set = make(map[string]bool)
		for name := range strings.SplitSeq(t.list, "\x00") {
			t.set[name] = true
		}
	})
	return t.set[string(name)]
}

// readToolNames returns nil if a response's calls can't be unwrapped, or if the names
// would take much memory for as long as the response comes.
func (r *request) readToolNames(tools int) *toolNames {
	names := append(r.nameBuf[:0], 0)
	for t := range r.elements(tools) {
		if fn := r.get(t, "function"); fn != 0 {
			t = fn
		}
		name := r.getString(t, "name")
		if name == 0 {
			continue
		}
		s := r.stringValue(name)
		if string(s) == wrapperName {
			return nil // this is a tool's own name here, and calls of it hide no other
		}
		if len(s) > 0 && bytes.IndexByte(s, 0) < 0 {
			names = append(append(names, s...), 0)
		}
		if len(names) > maxKeptText {
			return nil
		}
	}
	r.nameBuf = names
	if r.lastNames == nil || r.lastNames.list != string(names) {
		r.lastNames = &toolNames{list: string(names)}
	}
	return r.lastNames
}
