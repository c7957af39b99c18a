# build   the binary, bin/patrol
# test    every check: formatting, vet, lint, fixes, tests with -race, builds for all platforms
# lint    the linters alone
# fuzz    each fuzz target for FUZZTIME
# bench   the benchmarks, with peers in the same run
# demo    the main job, shown against a built-in workspace
# clients real agents and another user against the binary
# browser web pages in Chromium against the binary
# Needs Go alone, and a C compiler for the race detector; tools are fetched by
# version through the Go module proxy. clients and browser need root on Linux,
# clients Node.js too; they install what they lack (1 GB in
# ~/.cache/patrol-clients, Debian's chromium), skip nothing, and end within 10
# minutes each.

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
FUZZTIME ?= 30s

.PHONY: build test lint fuzz bench demo clients browser platforms

# A Databricks App takes files of 10 MB.
build:
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/patrol ./cmd/patrol
	@size=$$(gzip -9 <bin/patrol | wc -c); [ $$size -le 9500000 ] || { \
		echo "bin/patrol has $$size bytes in gzip: too much, 9.5 MB is the limit"; exit 1; }

test: build lint platforms
	go test -race ./...
	go test -run='^TestSimulation$$' ./rotator
	go test ./proxy # the counts that the race detector makes too slow

lint:
	go vet ./...
	GOOS=linux go vet -tags clients ./cmd/patrol
	go run $(GOLANGCI) run --allow-parallel-runners ./...
	@fixes=$$(go fix -diff ./... 2>&1) || { echo "$$fixes"; echo "go fix would change this"; exit 1; }

platforms:
	@for p in $(PLATFORMS); do echo "go build $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 go build -o /dev/null ./cmd/patrol || exit 1; done

fuzz:
	go test -run TestSimulation -timeout 4h ./rotator -seeds=200
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; go test -run='^$$' -fuzz="^$$target$$" -fuzztime=$(FUZZTIME) $$pkg || exit 1; done; done

bench:
	go test -run='^$$' -bench=. -benchmem ./...

demo: build
	bin/patrol demo

clients:
	go test -tags clients -count=1 -timeout 10m -v -run '^TestClient' ./cmd/patrol

browser:
	go test -tags clients -count=1 -timeout 10m -v -run '^TestBrowser' ./cmd/patrol
