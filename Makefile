# Linkpulse. `make` alone lists what there is.
SHELL := bash
.SHELLFLAGS := -Eeuo pipefail -c
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Tools are pinned here and nowhere else. They are installed into .tmp/bin when a target first needs them.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM     := gotest.tools/gotestsum@v1.13.0
PROTOC_GEN_GO := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
ESBUILD       := github.com/evanw/esbuild/cmd/esbuild@v0.28.2
BUF           := buf@v1.75.0

ARGS       ?=
TRAFFIC    ?= 20
FUZZTIME   ?= 10s
SEEDS      ?= 1000
SEED       ?=
REPEAT     ?= 50
BENCH      ?= .
BENCHCOUNT ?= 1

export PATH := $(CURDIR)/.tmp/bin:$(PATH)
# Directories of the modules. golangci-lint and gofmt want directories; the go command takes the pattern `work`, which
# means all modules of the workspace. `./...` at the root would match nothing, because the root is no module.
MODULES  = $(shell go list -m -f '{{.Dir}}')
COMPOSE := docker compose -f deploy/compose.yaml
say      = @echo "── $(1)"

.PHONY: help
help:
	@awk 'BEGIN {FS = ":.*## "; print "usage: make TARGET [NAME=value]"} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Run
.PHONY: run up down logs
run: ## the whole system in one process on embedded parts: open http://127.0.0.1:8081 (TRAFFIC=20 clicks/s, ARGS=...)
	@mkdir -p .tmp/bin
	@echo "building linkpulse (a minute the first time)" >&2
	@go build -o .tmp/bin/linkpulse ./services/linkpulse/cmd/linkpulse
	@exec .tmp/bin/linkpulse dev --traffic $(TRAFFIC) --token-out .tmp/dev.token $(ARGS)

up: ## the services as containers beside real Kafka and Redis (Docker Compose)
	COMPOSE_PARALLEL_LIMIT=1 $(COMPOSE) build
	$(COMPOSE) up --wait --detach $(ARGS)

down: ## stop what `up` started; its data stays (ARGS=--volumes drops it)
	$(COMPOSE) down --remove-orphans $(ARGS)

logs: ## follow the logs of what `up` started
	$(COMPOSE) logs --follow --tail=100 $(ARGS)

##@ Test
.PHONY: test test-short race e2e e2e-kafka sim compose-test fuzz bench bench-once
# gotestsum runs the same `go test` and ends with the list of every skipped test and its reason.
TEST = gotestsum --format pkgname-and-test-fails --format-icons text --format-hide-empty-pkg --

test: tool-gotestsum peers ## every test that this machine can run; the skipped ones are listed with their reason
	@$(TEST) -shuffle=on -timeout=25m $(ARGS) work

test-short: tool-gotestsum ## the inner loop: only what is quick
	@$(TEST) -shuffle=on -short -timeout=5m $(ARGS) work

race: tool-gotestsum ## pure code and the system in virtual time, under the race detector
	$(call say,race detector)
	@$(TEST) -race -short -shuffle=on -timeout=25m $(ARGS) work

e2e: tool-gotestsum ## the end-to-end tests alone
	@$(TEST) -count=1 -timeout=25m $(ARGS) ./services/linkpulse/e2e/...

e2e-kafka: tool-gotestsum ## the end-to-end tests on real Kafka alone; without a Docker engine they fail
	@LINKPULSE_REQUIRE_DOCKER=1 $(TEST) -count=1 -timeout=25m -run=Kafka $(ARGS) ./services/linkpulse/e2e/...

sim: ## the system in virtual time under SEEDS=1000 seeds of faults (SEED=42 runs that one REPEAT=50 times, until it fails)
	@go test -run=TestSimulation -timeout=60m ./services/linkpulse/e2e \
	  $(if $(SEED),-seed $(SEED) -count=$(REPEAT) -failfast -v -artifacts,-seeds $(SEEDS) -count=1) $(ARGS)

compose-test: ## images, compose file and programs together: a click is seen on both gateways
	@scripts/compose-test.sh

fuzz: ## every fuzz target for FUZZTIME=10s
	@scripts/fuzz.sh $(FUZZTIME)

bench: ## Go benchmarks with allocations (BENCH=regexp BENCHCOUNT=1), then the load of `linkpulse bench` (ARGS=...)
	@mkdir -p .tmp/bin .tmp/bench
	@go test -run='^$$' -bench='$(BENCH)' -benchmem -count=$(BENCHCOUNT) -timeout=60m work \
	  | grep -v 'no test files' | tee .tmp/bench/go.txt
	@go build -o .tmp/bin/linkpulse ./services/linkpulse/cmd/linkpulse
	@.tmp/bin/linkpulse bench $(ARGS)

bench-once: ## every Go benchmark once, so that none of them rots
	@go test -run='^$$' -bench=. -benchmem -benchtime=1x -timeout=25m work | grep -v 'no test files'

.PHONY: peers
peers: ## WebSocket clients of other people, which the gateway is tested with
	@scripts/peers.sh

##@ Change
.PHONY: gen page fmt fix tools clean
gen: tool-buf tool-protoc-gen-go page ## regenerate everything that is generated and committed
	@cd proto && buf generate

page: tool-esbuild ## bundle the page of the gateway
	@scripts/page.sh

fmt: tool-golangci-lint tool-buf ## format Go and protobuf
	@golangci-lint fmt $(MODULES)
	@buf format -w proto

fix: tool-golangci-lint ## apply what the linters can mend by themselves, and new idioms of Go
	@go fix work
	@golangci-lint run --fix $(addsuffix /...,$(MODULES))

tools: tool-golangci-lint tool-gotestsum tool-buf tool-protoc-gen-go tool-esbuild ## install every pinned tool now

clean: ## remove what builds and benchmarks left; installed tools stay
	@rm -rf .tmp/bin/linkpulse .tmp/bench .tmp/chart .tmp/page

##@ Check
.PHONY: check fmt-check lint proto breaking modules gen-check hygiene shell chart page-check
check: hygiene fmt-check lint proto modules gen-check page-check shell chart race ## all that must hold before a change is pushed

hygiene: ## the layout: top level, package comments, file sizes, one Go version
	$(call say,hygiene)
	@scripts/hygiene.sh

fmt-check: tool-golangci-lint tool-buf ## what `make fmt` would change
	$(call say,format)
	@golangci-lint fmt --diff $(MODULES)
	@buf format --diff --exit-code proto

lint: tool-golangci-lint ## golangci-lint over every module, boundaries included
	$(call say,lint)
	@golangci-lint run $(addsuffix /...,$(MODULES))

proto: tool-buf breaking ## lint the contracts
	@buf lint proto

breaking: tool-buf ## the protobuf contracts against the committed baseline
	$(call say,contracts)
	@buf breaking proto --against proto/baseline.binpb

modules: ## each module alone: builds outside the workspace, is tidy, names the same Go
	$(call say,modules)
	@scripts/modules.sh

gen-check: ## generated files are what `make gen` makes
	$(call say,generated files)
	@scripts/gen-check.sh

page-check: tool-esbuild ## the page's types and unit tests; skipped loudly where there is no Node
	$(call say,page)
	@scripts/page-test.sh

shell: ## the scripts: syntax, and shellcheck where there is one
	$(call say,scripts)
	@scripts/shell-check.sh

chart: ## the Helm chart lints, renders, and refuses wrong values; skipped loudly where there is no helm
	$(call say,chart)
	@scripts/chart-test.sh

# Installing is a script's job; these targets only say what a tool is and how long the first time takes.
.PHONY: tool-golangci-lint tool-gotestsum tool-buf tool-protoc-gen-go tool-esbuild
tool-golangci-lint:
	@scripts/tool.sh $(GOLANGCI_LINT) "3 minutes"
tool-gotestsum:
	@scripts/tool.sh $(GOTESTSUM) "15 seconds"
tool-buf:
	@scripts/tool.sh $(BUF) "5 minutes"
tool-protoc-gen-go:
	@scripts/tool.sh $(PROTOC_GEN_GO) "15 seconds"
tool-esbuild:
	@scripts/tool.sh $(ESBUILD) "10 seconds"
