# What people do with this checkout. `make` alone lists it.

GO       ?= go
PREFIX   ?= /usr/local
FUZZTIME ?= 20s
TESTS    ?= ./...
CUTS     ?= 30
SOAK     ?= KilledInFlight|Replays|BitFlips|ThousandHostile|GatewaySuite

RUNS     ?= 20
SEED     ?= 1
GAMES    ?= 10000

.PHONY: agree help build demo test sim sim-cover sim-power lint bench fuzz judge feegames mutate soak powerloss install clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## programs into bin/: runnel, runneld, btcd (the pinned version), demo
	@mkdir -p bin
	$(GO) build -o bin/ ./cmd/runnel ./cmd/runneld ./cmd/demo github.com/btcsuite/btcd

demo: build ## two daemons, ten thousand payments, a crash and two settlements, checked on the chain
	@bin/demo

test: ## all tests, end to end too (TESTS=./channel/... for some)
	@$(GO) run ./itest/testrun -p 3 -timeout 30m $(TESTS)

sim: ## simulate two nodes with all that can go wrong (SEED=n RUNS=m)
	$(GO) test ./itest/sim -count=1 -v -run '^TestSeeds$$' -timeout 0 -args -seed=$(SEED) -runs=$(RUNS)

sim-cover: ## how much of the daemon 20 seeds of the simulation run
	$(GO) test ./itest/sim -count=1 -run '^TestSeeds$$' -coverpkg=./daemon -coverprofile=coverage.out -args -seed=$(SEED) -runs=$(RUNS)

sim-power: ## plant one bug after another and see which of them the simulation finds
	$(GO) test ./itest/sim -tags planted -count=1 -v -run '^TestPower$$' -timeout 0

lint: ## gofmt, vet, staticcheck
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "gofmt -w $$files"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

judge: ## the fraud detector on 1,000 seeds; writes its tables into docs/security.md
	go test ./policy/fraud -run TestJudge -judge -count=1 -timeout 30m

bench: build ## measure, and write BENCHMARKS.md
	$(GO) run ./itest/bench -bin bin -write BENCHMARKS.md

feegames: ## 10,000 settlements and refunds against fee storms, reorganisations and one who replaces them (GAMES=n)
	RUNNEL_FEE_RUNS=$(GAMES) $(GO) test ./daemon -run 'TestSettlementWins|TestRefundWins' -timeout 60m

agree: ## RUNS times 1,000 random transactions: a real btcd and the chain in memory give the same verdicts (SEED=n)
	$(GO) test ./ledger/btcwallet -run TestMemoryAgreesWithBtcd -timeout 60m -agree.seed $(SEED) -agree.runs $(RUNS)

fuzz: ## every fuzz target for FUZZTIME (20s)
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

mutate: ## take every check that guards money away, one at a time: each must be missed by a test
	@$(GO) run ./itest/mutate

soak: ## what takes hours: 200 SIGKILLs, 100,000 replays, 10,000 bit flips, 1,000 hostile peers, 1,000 rounds of 100 uses of one HTTP credential on nodes in memory and on real ones (SOAK=NAMES)
	RUNNEL_SOAK=1 $(GO) test -count=1 -timeout 12h -v -run '$(SOAK)' ./itest/... ./daemon ./cmd/runneld ./gateway | grep -v '^=== '

powerloss: ## database, journal and daemons on a disk that forgets, at a power cut, what was not synced (needs FUSE)
	RUNNEL_POWERLOSS=$(CUTS) $(GO) test -count=1 -timeout 2h -v -run PowerLoss ./itest/... | grep -v '^=== '

install: build ## runnel, runneld and btcd into PREFIX/bin (/usr/local/bin)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 bin/runnel bin/runneld bin/btcd $(DESTDIR)$(PREFIX)/bin/

clean: ## remove what was built
	rm -rf bin
