# build          the binary, bin/patrol
# test           every check: the linters, tests with -race, builds for other systems
# lint           the linters alone
# fuzz           each fuzz target for FUZZTIME
# bench          the benchmarks, with peers in the same run
# demo           the main job, shown against a built-in workspace
# clients        real agents and another user against the binary
# browser        web pages in Chromium against the binary
# release-check  builds for all systems, and a look for known vulnerabilities (vuln.go.dev)
# Needs Go alone, and a C compiler for the race detector; tools are fetched by
# version through the Go module proxy. clients and browser need root on Linux,
# clients Node.js too; they install what they lack (1 GB in
# ~/.cache/patrol-clients, Debian's chromium), skip nothing, and end within 10
# minutes each.

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
RACE := CGO_ENABLED=1 go test -vet=off -race

# Tests that run without the race detector alone: those that watch a process of its
# own, which would be raced but not heard; and those that go through thousands of cases
# of what other tests race.
PLAIN := ^TestCrash|^TestScripts$$|^TestConformance$$/^binary$$|^TestInstances$$|^TestClock|^TestLedgerTorn|^TestLedgerRotten$$
FUZZTIME ?= 30s

# The flags of the binary. Where no race detector is needed all is built with
# them, the linter included: what they have in common is compiled once.
export CGO_ENABLED := 0
export GOFLAGS := $(shell go env GOFLAGS) -trimpath

.PHONY: build test lint fuzz bench demo clients browser release-check

# A Databricks App takes files of 10 MB.
build:
	go build -ldflags='-s -w' -o bin/patrol ./cmd/patrol
	@size=$$(gzip -9 <bin/patrol | wc -c); [ $$size -le 9500000 ] || { \
		echo "bin/patrol has $$size bytes in gzip: too much, 9.5 MB is the limit"; exit 1; }

# The linters have vetted the tests. Without the race detector run, besides PLAIN, what
# needs a count in the thousands, or a year, and is raced shortened; and the filter: it
# does all its work in the goroutine that calls it, and the proxy's tests call it from
# many.
test: build lint
	GOOS=darwin GOARCH=arm64 go build -o /dev/null ./cmd/patrol
	GOOS=windows GOARCH=amd64 go build -o /dev/null ./cmd/patrol
	$(RACE) -skip='$(PLAIN)' $$(go list ./... | grep -v '/proxy/filter$$')
	go test -vet=off ./proxy/filter
	go test -vet=off -run='^TestMany|^TestAgents|^TestSimulation$$|$(PLAIN)' ./proxy ./rotator/... ./cmd/patrol

lint:
	go run $(GOLANGCI) run --allow-parallel-runners ./...

release-check: build
	@for p in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64; do echo "go build $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null ./cmd/patrol || exit 1; done
	go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

fuzz:
	go test -run TestSimulation -timeout 4h ./rotator -seeds=200
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; go test -run='^$$' -fuzz="^$$target$$" -fuzztime=$(FUZZTIME) $$pkg || exit 1; done; done

# One at a time: a build beside a benchmark would be measured.
bench:
	go test -run='^$$' -bench=. -p=1 -timeout=30m ./...

demo: build
	bin/patrol demo

clients:
	go test -tags clients -count=1 -timeout 10m -v -run '^TestClient' ./cmd/patrol ./proxy/upstream

browser:
	go test -tags clients -count=1 -timeout 10m -v -run '^TestBrowser' ./cmd/patrol
