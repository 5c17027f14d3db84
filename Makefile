# Every task of the project. Each target works on a fresh clone with Rust and, for the tests'
# peers, Debian's apt-get; what is missing is said in one line.

CARGO ?= cargo
OUTPUT := $(or $(CARGO_TARGET_DIR),target)
MOTE := $(OUTPUT)/release/mote
# The power cuts of `make crash`: how many, and from which seed on. The same numbers, the same run.
POINTS ?= 1000000
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help build run demo test check crash faults mutants fuzz fmt bench sizes clean rust peers

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

rust:
	@command -v $(CARGO) >/dev/null || { echo "missing: cargo (Rust 1.88 or later, see https://rustup.rs)"; exit 1; }

build: rust ## the release binary
	$(CARGO) build --release

run: build ## run mote on 127.0.0.1:2525 with everything under target/run
	@mkdir -p $(OUTPUT)/run
	@echo
	@echo "mote listens on 127.0.0.1:2525 and delivers into $(OUTPUT)/run/Maildir. From another terminal, send a mail:"
	@echo "  (echo Subject: hello; echo; echo It works.) | MOTE_HOME=$(OUTPUT)/run $(MOTE) sendmail you@localhost"
	@echo "  curl smtp://127.0.0.1:2525 --mail-from me@localhost --mail-rcpt you@localhost --crlf --upload-file CHANGELOG.md"
	@echo "and read it in $(OUTPUT)/run/Maildir/new. Ctrl-C ends mote."
	@echo
	MOTE_HOME=$(OUTPUT)/run $(MOTE) serve

demo: build ## mail through two instances, then SIGKILL with 200 in flight: what was lost?
	@command -v python3 >/dev/null || { echo "missing: python3"; exit 1; }
	@python3 tests/demo/demo.py $(MOTE)

peers: # the mail programs that the tests talk to, unpacked, not installed
	@sh tests/e2e/peers.sh

test: rust peers ## the whole suite
	$(CARGO) test
	$(MAKE) mutants

check: rust ## formatting, lints, documentation and the tidy test
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items
	$(CARGO) test --test tidy

crash: rust ## cut the power POINTS times from SEED on in a simulated queue; SWEEP=1: then faults
	POINTS=$(POINTS) SEED=$(SEED) $(CARGO) test --quiet --profile crash --test crash
	@if [ -n "$(SWEEP)" ]; then $(MAKE) faults; fi

faults: build ## kill and hurt the real binary at each of its system calls (half an hour)
	python3 tests/faults/sweep.py $(MOTE)

mutants: rust ## break one rule of the queue at a time: does the crash test notice?
	$(CARGO) test --quiet --profile crash --features mutants --test mutants

fuzz: rust ## fuzz TARGET (without it: each) for SECONDS; MINIMISE=1 renews the corpora
	@sh tests/fuzz/fuzz.sh $(OUTPUT) $(or $(SECONDS),60) $(TARGET)

.PHONY: man
man: build ## the manual pages, into target/man
	@mkdir -p $(OUTPUT)/man
	@for page in mote.8 mote.conf.5 sendmail.8 mailq.1; do $(MOTE) help --man $${page%.*} >$(OUTPUT)/man/$$page || exit 1; done
	@echo $(OUTPUT)/man

fmt: rust ## format the source
	$(CARGO) fmt

bench: build ## messages a second beside the least that any receiver must do
	sh tests/bench/bench.sh $(MOTE)

.PHONY: rate hops
hops: build peers ## 1000 mixed messages into each real next hop, killed in the middle
	TESTED_BINARY=$(MOTE) HOPS=$(or $(HOPS),1000) $(CARGO) test --test e2e hops:: -- --nocapture --test-threads 1

rate: build peers ## messages relayed a second, beside Postfix; and the system calls of each
	python3 tests/bench/rate.py $(MOTE)
	python3 tests/bench/rate.py $(MOTE) calls

.PHONY: hostile scale
hostile: build ## peers who mean harm, at full length; HOSTILE images (a million) of each kind
	TESTED_BINARY=$(MOTE) $(CARGO) test --quiet --profile crash --test hostile -- --ignored --nocapture --test-threads 1
	$(CARGO) test --quiet --profile crash --test hostile_image -- --ignored --nocapture

scale: build ## start, memory and rate with 10000 and 100000 messages waiting
	@command -v python3 >/dev/null || { echo "missing: python3"; exit 1; }
	@python3 tests/bench/scale.py $(MOTE)

sizes: build ## bytes of the product, in all and by room; of cross builds, beside their budgets
	sh tests/bench/sizes.sh $(MOTE)
	@echo
	@sh cross/sizes.sh

# Small machines: cross/targets has the words for TARGET. Nothing is installed; all lies in .cross.
TARGETS := $(shell awk '!/^\#/ && NF {print $$1}' cross/targets)
.PHONY: cross cross-all cross-same cross-test cross-test-all cross-test-one
cross: ## a static mote for TARGET (cross/targets), with TLS and without
	@sh cross/build.sh $(TARGET)
	@sh cross/build.sh $(TARGET) --no-default-features

cross-all: ## the same for all targets
	@for target in $(TARGETS); do $(MAKE) --no-print-directory cross TARGET=$$target || exit 1; done

cross-same: ## build TARGET twice in two folders: equal bytes?
	@sh cross/same.sh $(TARGET)

cross-test: ## mail through the build for TARGET, on an old processor that qemu plays
	@sh cross/test.sh $(TARGET)

cross-test-all: ## the same for all targets
	@for target in $(TARGETS); do sh cross/test.sh $$target || exit 1; done

cross-test-one: # another target on another day
	@set -- $(TARGETS); shift $$(( $$(date +%j | sed 's/^0*//') % $$# )); \
	timeout 420 sh cross/test.sh $$1 || case $$? in 77) ;; 124) echo "skipped: $$1 was not done within 7 minutes" ;; *) exit 1 ;; esac

# How often the machine of `make image-test` is switched off, on each file system.
ROUNDS ?= 3
.PHONY: image-test
image-test: ## switch a whole machine off under load, ROUNDS times on each of four file systems
	@sh cross/image-test.sh $(ROUNDS) $(FILESYSTEMS)

# Where it goes: PREFIX, below DESTDIR for packages.
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
.PHONY: install dist package-test
install: ## into PREFIX (/usr/local) below DESTDIR, after `make build`
	@test -x $(MOTE) || { echo "missing: $(MOTE); make build"; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/doc/mote \
		$(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 755 $(MOTE) $(DESTDIR)$(PREFIX)/bin/mote
	ln -sf ../bin/mote $(DESTDIR)$(PREFIX)/sbin/sendmail
	ln -sf mote $(DESTDIR)$(PREFIX)/bin/mailq
	ln -sf mote $(DESTDIR)$(PREFIX)/bin/newaliases
	install -m 644 README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE $(DESTDIR)$(PREFIX)/share/doc/mote
	sed 's|@PREFIX@|$(PREFIX)|' cross/systemd/mote.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/mote.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/mote.service
	install -m 644 cross/systemd/mote.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/mote.socket
	install -m 644 cross/systemd/mote.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/mote.conf
	install -m 644 cross/systemd/mote.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/mote.conf

dist: ## the source of the commit that is checked out, as one archive
	@mkdir -p $(OUTPUT)/dist
	git archive --format=tar --prefix=mote-$(VERSION)/ HEAD | xz -9 >$(OUTPUT)/dist/mote-$(VERSION).tar.xz
	@echo $(OUTPUT)/dist/mote-$(VERSION).tar.xz

package-test: rust ## the router's and systemd's files: linters, stubs, and a mail
	$(CARGO) build
	@sh cross/openwrt/test.sh $(OUTPUT)/debug/mote
	@sh cross/systemd/test.sh $(OUTPUT)/debug/mote

clean: rust ## remove everything that was built
	$(CARGO) clean
