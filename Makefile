# make help lists what there is.
GO ?= go
PKGS ?= ./...
RUN_FLAGS ?=

.PHONY: help run build test race lint generate check-generated fuzz-short bench soak clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

run: build ## build, then run the server with capture on (RUN_FLAGS="--data DIR ..." to change it)
	./flowlake server $(RUN_FLAGS)

build: ## build ./flowlake
	$(GO) build -o flowlake ./cmd/flowlake

test: ## all tests; those that need root, capture rights or a missing program skip and say so
	$(GO) test -timeout 10m $(PKGS)

race: ## the concurrent packages under the race detector
	$(GO) test -race -short -timeout 10m ./db/... ./ingest/... ./collector/... ./query/...

lint: ## gofmt, vet, staticcheck
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$fmt" || { echo "gofmt -w these files:"; echo "$$fmt"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

generate: ## regenerate everything that is generated (needs Java for the parser)
	$(GO) generate ./...

check-generated: generate ## fail when a generated file is not current
	@test -z "$$(git status --porcelain)" || { git status --porcelain; git diff --stat; echo "make generate changed the tree: commit the result"; exit 1; }

fuzz-short: ## each fuzz target for 10 seconds
	./bench/fuzz.sh 10s

bench: ## the stage benchmarks, into bench/results/
	./bench/stages.sh

soak: ## long proofs: kill -9 in a loop, crash clones with many seeds
	FLOWLAKE_SOAK=1 $(GO) test -timeout 2h -run 'Kill|Crash|Soak' -count=1 -v ./db/... ./cmd/...

clean: ## remove what was built
	rm -f flowlake
