# WolfDisk. `make build` needs Go alone; what the other targets lack they install when
# root on Debian, otherwise they say how and end with exit code 69.

VERSION != git describe --tags --always --dirty 2>/dev/null || echo devel
PROGRAMS = wolfdisk wolfdisk-master wolfdisk-slave wolfdiskctl
LDFLAGS  = -s -w -X wolfdisk/node/version.Version=$(VERSION)

# How long: make soak DURATION=8h, make fuzz FUZZTIME=10m, make sim SEEDS=100000.
DURATION = 10m
FUZZTIME = 30s
SEEDS = 10000
# More for the programs: make demo DEMO_FLAGS=--keep, make bench BENCH_FLAGS=--short,
# make compare COMPARE_FLAGS=--short.
DEMO_FLAGS =
BENCH_FLAGS =
COMPARE_FLAGS = --readme

# One set of flags for everything, so that each dependency is compiled once for each
# of: plain, race detector, FreeBSD.
export CGO_ENABLED = 0
export GOFLAGS := $(GOFLAGS) -trimpath -buildvcs=false
# Where the end-to-end tests find the programs.
export WDTEST_BIN = $(CURDIR)/bin
# A machine that cannot mount fails the tests instead of skipping them.
export WOLFDISK_REQUIRE_FUSE = 1

STEP = @tests/step.sh

all: build

build:
	mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./cmd/%)

demo: need-demo build
	go build -o bin/test/demo ./tests/demo
	bin/test/demo --bin bin $(DEMO_FLAGS)

# Everything: about 14 minutes on 2 cores; at most 15 are allowed.
test: need-test
	$(STEP) "build" $(MAKE) --no-print-directory build
	$(STEP) "gofmt, go vet" tests/lint.sh
	$(STEP) "FUSE" go run ./tests/fuseprobe
	$(STEP) "end to end, real mounts" go test -short -count=1 -timeout 20m -parallel 4 ./tests/e2e
	$(STEP) "POSIX, real mounts" go test -short -count=1 -timeout 5m ./tests/posix
	$(STEP) "services, mount helper, installation" go test -v -short -count=1 -timeout 5m ./tests/contrib
	$(STEP) "whole clusters, simulated" go test -count=1 -timeout 10m -run '$(SIMULATED)' ./elect ./tests/sim
	$(STEP) "unit tests, race detector" $(RACE) go test -race -short -timeout 15m -skip '$(SLOW)' $(RACED)
	$(STEP) "unit tests without it" go test -short -timeout 5m $(PLAIN)
	$(STEP) "slow unit tests without it" go test -short -timeout 5m -run '$(SLOW)' $(RACED)
	$(STEP) "S3 with clients" go test -short -count=1 -timeout 5m ./tests/s3
	$(STEP) "FreeBSD build and vet" tests/freebsd.sh

# The long form of everything.
check: need-test
	$(STEP) "build" $(MAKE) --no-print-directory build
	$(STEP) "gofmt, go vet" tests/lint.sh
	$(STEP) "FreeBSD build and vet" tests/freebsd.sh
	$(STEP) "services, mount helper, installation" go test -v -count=1 -timeout 10m ./tests/contrib
	$(STEP) "whole clusters, simulated" go test -count=1 -timeout 10m -run '$(SIMULATED)' ./elect ./tests/sim
	$(STEP) "unit tests, race detector" $(RACE) go test -race -count=1 -timeout 60m $(UNIT)
	$(STEP) "S3 with clients, race detector" $(RACE) go test -race -short -count=1 -timeout 20m ./tests/s3
	$(STEP) "end to end, real mounts" go test -count=1 -timeout 60m ./tests/e2e
	$(STEP) "POSIX, real mounts" go test -v -count=1 -timeout 60m ./tests/posix
	$(STEP) "build with race detector" $(RACE) go build -race -o bin/race/ $(PROGRAMS:%=./cmd/%)
	$(STEP) "end to end, race detector in the daemons" env WDTEST_BIN=$(CURDIR)/bin/race go test -short -count=1 -timeout 60m ./tests/e2e
	$(STEP) "fuzz" tests/fuzz.sh $(FUZZTIME)

RACE = env CGO_ENABLED=1
OWN_STEP = -e /tests/e2e -e /tests/posix -e /tests/contrib -e /tests/s3
UNIT = $$(go list ./... | grep -v $(OWN_STEP))
# What starts few goroutines, or takes many times as long under the race detector, runs without it in
# `make test`; `make check` has all under it.
SEQUENTIAL = /elect$$ /tests/ /volume /cmd/ /node/export /node/conflict /node/config
PLAIN = $$(go list ./... | grep $(SEQUENTIAL:%=-e %) | grep -v $(OWN_STEP) -e /tests/sim)
RACED = $$(go list ./... | grep -v $(SEQUENTIAL:%=-e %))
SLOW = ^Test(AdoptInterrupted|AdoptRandom|Edits|EditsBehind|Reconcile|ReconcileInterrupted|Brake|Reapply|Retain.*|HeldSnapshot|PowerCut|ScrubOnce|StoppedInPeace|(Dir|Chunk)VolumeConforms|OverTheWireConforms|SyncSources|SyncFromSnapshot|Digests|FailingDisk|ClientsAreBounded|Multipart|CompletionWhilePartComes|Unprivileged|RepackBoundsUse|SealRepacked|ErrorAtEveryCall|Crash|CrashAnywhere|Extents|AnswersTwice|AnswersAreBounded|CheckFindsNothing|CheckDamagedFile|RandomOps|ContentModel|FlushBehindLog)$$

bench: need-bench build
	go build -o bin/test/ ./tests/bench/...
	bin/test/bench --bin bin --overlay bin/test/overlay --json dist/bench.json $(BENCH_FLAGS)

# WolfDisk beside lsyncd and GlusterFS: the table of README.md. As root.
compare: build
	go build -o bin/test/ ./tests/bench
	tests/bench/compare.sh $(COMPARE_FLAGS)

# The programs and libraries that people use with S3, and versitygw's tests, against the
# gateway: installs them, outside of what is built and tested otherwise, and runs all.
S3_CLIENTS = dist/s3-clients
s3-clients:
	tests/s3/install.sh $(S3_CLIENTS)
	WDTEST_S3_CLIENTS=$(CURDIR)/$(S3_CLIENTS) go test -v -count=1 -timeout 3h ./tests/s3

fuzz:
	tests/fuzz.sh $(FUZZTIME)

# The crash and fault tests of all packages in their long form, then kill -9 loops
# of real daemons.
crash: need-test build
	go test -count=1 -timeout 60m -run '[Cc]rash|[Ff]ault|[Pp]ower|[Ii]nject' $(UNIT)
	go test -count=1 -timeout 60m -v -run Kill ./tests/e2e

# Whole clusters in virtual time, each from its seed: the elections alone over a model of everything
# else, many a second, and the real logs, indexes, leaders and followers with them.
SIMULATED = ^(TestSimulation|TestReplay|TestPlantedBugs)$$
sim:
	go test -count=1 -timeout 0 -v -run 'TestSimulation$$' ./elect -args -seeds $(SEEDS)
	go test -count=1 -timeout 0 -v -run 'TestSimulation$$' ./tests/sim -args -seeds $(SEEDS)

soak: need-test build
	WDTEST_SOAK=$(DURATION) go test -count=1 -timeout 0 -v -run TestSoak ./tests/e2e

lint:
	tests/lint.sh

PACKAGE = wolfdisk-$(VERSION)-$$(go env GOOS)-$$(go env GOARCH)
package: build
	rm -rf dist/stage
	mkdir -p dist/stage/$(PACKAGE)
	cp -R README.md docs contrib $(PROGRAMS:%=bin/%) dist/stage/$(PACKAGE)/
	tar -C dist/stage --owner=0 --group=0 --sort=name -czf dist/$(PACKAGE).tar.gz $(PACKAGE)
	rm -rf dist/stage
	@echo dist/$(PACKAGE).tar.gz

# Programs, documents, and what the system's service manager and mount(8) need, below
# $(DESTDIR). BINDIR is where the programs lie now.
PREFIX = /usr/local
DESTDIR =
SBINDIR = /sbin
BINDIR = bin
SYSTEM = $(shell uname -s)
install: build
	contrib/install.sh --system '$(SYSTEM)' --bin '$(BINDIR)' --destdir '$(DESTDIR)' --prefix '$(PREFIX)' --sbindir '$(SBINDIR)'

clean:
	rm -rf bin dist

need-demo:
	@tests/need.sh fuse3 tar
need-test:
	@tests/need.sh fuse3 gcc libc6-dev git rsync attr acl sqlite3 tar util-linux mount e2fsprogs iproute2 strace shellcheck procps fio postgresql curl
need-bench:
	@tests/need.sh fuse3 fio bindfs tar

.PHONY: all build demo test check bench compare s3-clients fuzz crash soak lint package install clean need-demo need-test need-bench
