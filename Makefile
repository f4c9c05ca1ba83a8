# make help lists what there is.
GO ?= go
PKGS ?= ./...
RUN_FLAGS ?=
# how long make soak writes, kills and checks
SOAK ?= 30m
# packages that run goroutines of their own: the race detector looks at these
RACE_PKGS ?= ./db/... ./ingest/... ./collector/... ./query/... ./compat/... ./cmd/...
# systems that it is built for but not tested on here
CROSS ?= linux/arm64 darwin/arm64 windows/amd64

.PHONY: help run build test race lint generate check-generated cross bench-once fuzz-short bench bench-stages soak clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

run: build ## build, then run the server with capture on (RUN_FLAGS="--data DIR ..." to change it)
	./flowlake server $(RUN_FLAGS)

build: ## build ./flowlake
	$(GO) build -o flowlake ./cmd/flowlake

test: ## all tests; those that need root, capture rights or a missing program skip and say so
	$(GO) test -timeout 30m $(PKGS)

race: ## the concurrent packages under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $(RACE_PKGS)

lint: ## gofmt, vet, staticcheck
	@fmt=$$(gofmt -l $$(git ls-files --deduplicate '*.go')); test -z "$$fmt" || { echo "gofmt -w these files:"; echo "$$fmt"; exit 1; }
	$(GO) vet -unreachable=false ./... # ANTLR's parser ends each rule with a goto that nothing reaches
	$(GO) tool staticcheck $$($(GO) list ./... | grep -v /query/parse/gen$$)

generate: ## regenerate everything that is generated (the parser needs Java and, the first time, Maven)
	$(GO) generate ./...

check-generated: ## fail when a generated file is not current; works on a clone of the last commit
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && git clone -q . "$$tmp/clone" && \
		$(MAKE) --no-print-directory -C "$$tmp/clone" generate && cd "$$tmp/clone" && \
		{ test -z "$$(git status --porcelain)" || { git status --short; git diff --stat; echo "make generate changes these files: commit the result"; exit 1; }; }

cross: ## build for the other systems
	@for target in $(CROSS); do \
		echo "build for $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build ./... || exit 1; \
	done

bench-once: ## every benchmark once, so that none rots
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 10m $$(git grep -l '^func Benchmark' -- '*_test.go' ':!bench/walbench' | xargs -n1 dirname | sort -u | sed 's|^|./|')

fuzz-short: ## each fuzz target for 10 seconds
	./bench/fuzz.sh 10s

bench: ## all workloads beside other systems and all stages, into bench/results (half an hour; ROWS=1000000 makes it shorter; a quiet machine, please)
	GO=$(GO) ./bench/all.sh

bench-stages: ## what a row costs at each stage, into bench/results/stages.md (5 minutes)
	GO=$(GO) ./bench/stages.sh

soak: ## the soak of SOAK=30m, then the long forms of the other proofs (about an hour more)
	FLOWLAKE_SOAK=$(SOAK) $(GO) test -timeout 24h -run 'TestSoak' -count=1 -v ./db ./collector
	FLOWLAKE_SOAK=$(SOAK) $(GO) test -timeout 4h -run 'Kill|Crash|Fault|Metamorphic|MemoryBound' -count=1 -v ./db/... ./cmd/...

clean: ## remove what was built
	rm -f flowlake
