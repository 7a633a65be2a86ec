# What a developer needs; CI calls the same targets.

.PHONY: help fmt lint test long post-mortem browser page-picture versions alerts alert-rules deploy-check fuzz doc demo deps deny failover-report bench-peers mysql
.PHONY: static image pod openapi-check schema-check deb deb-check systemd-check advisories dist dist-check bare-debian aarch64

help:
	@echo "make fmt              format"
	@echo "make lint             what CI lints"
	@echo "make test             install what the tests need, run everything"
	@echo "make long             failovers by chance under load, with a check of the whole history (RUNS=100)"
	@echo "make post-mortem      the outage behind mainstay, replayed on real servers (RUNS=20)"
	@echo "make browser          the page in a real browser, and pages that attack the admin endpoint (installs chromium-headless-shell)"
	@echo "make page-picture     make docs/page.png again"
	@echo "make versions         servers of other releases: MySQL, Redis, MariaDB (unpacks those of Debian into target/servers)"
	@echo "make alerts           a real Prometheus and Alertmanager tell of real outages (MINUTES=10; installs prometheus-alertmanager)"
	@echo "make alert-rules      make the rules for Kubernetes from deploy/prometheus/rules.yaml"
	@echo "make deploy-check     render and validate what is in deploy/kubernetes, deploy/helm and compose.yaml (installs the validators)"
	@echo "make openapi-check    lint docs/openapi.yaml, and ask a running mainstay by it, by chance (LIMIT=60 seconds, three times)"
	@echo "make schema-check     the schema and check on 13,000 files (minutes)"
	@echo "make fuzz             look for bytes that break a reader (TARGET=redis_reply SECONDS=60; installs cargo-fuzz)"
	@echo "make static           the static binary, target/dist/mainstay"
	@echo "make image            the container image, target/dist/mainstay-image.tar (installs buildah)"
	@echo "make pod              the life of a pod without Kubernetes: that image by runc, under limits and seccomp (installs runc)"
	@echo "make doc              documentation of the library"
	@echo "make demo             watch a failover"
	@echo "make deny             licences, bans and sources of the dependencies, as CI checks them (fetches cargo-deny)"
	@echo "make advisories       known vulnerabilities of the dependencies; needs GitHub, so CI does not"
	@echo "make deb              the Debian package, target/dist/mainstay_VERSION_amd64.deb (installs cargo-deb)"
	@echo "make deb-check        install, upgrade and purge it in a chroot, and ask lintian (as root or with sudo; installs debootstrap and lintian)"
	@echo "make systemd-check    the package under a real systemd, in a virtual machine (as root or with sudo; installs qemu and mmdebstrap)"
	@echo "make dist             a release in target/dist: binary, archive, image, deb, bill of materials, licences, SHA256SUMS"
	@echo "make dist-check       makes the release twice, in two places, and compares every byte"
	@echo "make aarch64          compiles for aarch64 with the toolchain of Debian's unstable suite; runs demo and unit tests under qemu"
	@echo "make bare-debian      README's commands on a Debian 12 made by debootstrap (WHAT=test: also make test)"
	@echo "make failover-report  measure failovers of real servers (about an hour; RUNS=20)"
	@echo "make bench-peers      measure mainstay beside HAProxy, nginx and Envoy (about 20 minutes; ROUNDS=5)"

fmt:
	cargo fmt --all

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Installs what is missing, as root or with sudo.
deps:
	./tests/install-deps

# What is true of sessions is true however their bytes are moved. Not tried again: what is refused, or decided, before there are any;
# what names its ways itself (`splice`); how checks fare on a machine without a free core.
SESSIONS = test(/^(bytes|doors::(mariadb|proxied|sent)|streams|resources::(crowd|descriptors|processor)|network|hold|psql|unix|shutdown::smart)::/) \
	- test(/^(streams::order|network::addresses|resources::processor::a_machine_without_a_free_core_is_no_evidence)/)

# Where tests/install-tool puts cargo-nextest on a machine without.
export PATH := $(PATH):$(CURDIR)/target/tools

NEXTEST = cargo nextest run --locked --workspace --no-fail-fast
# Most tests wait for servers most of the time: with three for each core, a quarter of the processor is idle.
ALL = --test-threads $$((4 * $$(nproc)))
# Two side by side: only what is not as it should be.
EACH = --test-threads $$((3 * $$(nproc))) --status-level slow -E '$(SESSIONS)'

# Half of the processor's time in the tests goes into the files of new database servers; in memory they take less than half of that.
test versions: export TMPDIR := $(or $(TMPDIR),$(shell findmnt -bno AVAIL,OPTIONS -t tmpfs /dev/shm | awk '$$1 >= 8e9 && !/noexec/ {print "/dev/shm"; exit}'),/tmp)
# What is left of it, once for many.
test versions: export MAINSTAY_LAB_TEMPLATES := $(CURDIR)/target/templates
test: deps
	cargo nextest --version >/dev/null 2>&1 || ./tests/install-tool cargo-nextest
	$(NEXTEST) $(ALL)
	MAINSTAY_TEST_RELAY=splice $(NEXTEST) $(EACH) & splice=$$!; \
	MAINSTAY_TEST_RELAY=copy $(NEXTEST) $(EACH); copy=$$?; wait $$splice && exit $$copy
	cargo test --locked --workspace --doc

# Nobody waits for these at each change. .config/nextest.toml keeps them out of `make test`.
long post-mortem browser page-picture versions: APART = cargo nextest run --locked --workspace --test it --ignore-default-filter --no-capture
long: deps
	$(APART) -E 'test(/^long::/) - test(/^long::post_mortem/)'

# The figures of docs/post-mortem-replayed.md, in the lines that begin with TABLE.
post-mortem: deps
	$(APART) -E 'test(/^long::post_mortem/)'

# The browser is 100 MB, and the pages that attack make thousands of requests. Pictures are left in target/page; MINUTES=10 looks for
# longer at what an open page costs.
browser:
	./tests/install-deps browser
	$(APART) -E 'test(/^browser::/)'

page-picture:
	./tests/install-deps browser
	$(APART) -E 'test(/^browser::pictures::/)'
	cp target/page/readme.png docs/page.png

# Debian's unstable suite moves, so nobody's change can wait for it.
mysql: deps
	./tests/install-servers sid mysql mysql-server-core mysql-client-core

versions: mysql
	./tests/install-servers trixie redis redis-server
	./tests/install-servers trixie mariadb mariadb-server-core mariadb-client-core
	cargo nextest run --locked --workspace --test it --ignore-default-filter --no-fail-fast -E 'test(/^versions::/)'

# Ten quiet minutes take ten minutes.
alerts:
	./tests/install-deps alerts
	cargo nextest run --locked --workspace --test it --ignore-default-filter --success-output immediate -E 'test(/^alerts::live::/)'

# The validators are 350 MB.
deploy-check:
	./tests/install-deps validators
	cargo nextest run --locked --workspace --test it --ignore-default-filter -E 'test(/^deploy::/)'

# prometheusrule.yaml keeps its head; a test compares the rest.
alert-rules:
	cd deploy/prometheus && sed -i '/^spec:/q' prometheusrule.yaml && sed -n '/^groups:/,$$s/^/  /p' rules.yaml >>prometheusrule.yaml
	sed -n '/^groups:/,$$p' deploy/prometheus/rules.yaml >deploy/helm/mainstay/files/groups.yaml

# What it finds goes into fuzz/corpus/TARGET/, which `make test` tries from then on. src/fuzzing.rs has the list of targets.
TARGET ?= redis_reply
SECONDS ?= 60
# The coverage that a fuzzer needs is not in stable Rust yet; RUSTC_BOOTSTRAP has this compiler allow it, so that no nightly is needed.
fuzz:
	cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	RUSTC_BOOTSTRAP=1 cargo fuzz run $(TARGET) -- -max_total_time=$(SECONDS) -max_len=65536

image: static
	command -v buildah >/dev/null || ./tests/install-deps image
	./deploy/image/build target/dist/mainstay target/dist/mainstay-image.tar

pod: image
	./tests/install-deps pod
	cargo nextest run --locked --workspace --test it --ignore-default-filter --success-output immediate -E 'test(/^pod::/)'

# Its tools (schemathesis, redocly) are 400 MB in target/openapi.
openapi-check:
	cargo build --locked
	./tests/openapi-check target/debug/mainstay

schema-check: deps
	EVERY=1 cargo nextest run --locked --test it -E 'test(/^schema::/)'

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p mainstay -p lab --document-private-items

demo:
	cargo run --release --locked -- demo

# Known vulnerabilities (`cargo deny check advisories`) are a database on GitHub, so no change waits for it; `make advisories` asks it.
deny:
	./tests/install-tool cargo-deny
	target/tools/cargo-deny --locked check bans licenses sources

advisories:
	./tests/install-tool cargo-deny
	target/tools/cargo-deny --locked check advisories

deb:
	cargo deb --version >/dev/null 2>&1 || cargo install --locked cargo-deb
	./deploy/debian/build

deb-check: deb
	./tests/deb-check

# 400 MB are downloaded the first time.
systemd-check: deb
	./tests/systemd-check

RUNS ?= 20
failover-report: mysql
	cargo bench --locked --bench failover_report -- --runs $(RUNS)

# The bench profile inherits release. Nothing else should run on the machine meanwhile.
ROUNDS ?= 5
bench-peers:
	./benches/peers/install
	cargo bench --locked --bench peers -- --rounds $(ROUNDS)

# One file that needs no other, for any Linux with this processor: the C library is in it. --target keeps the flag from build scripts and
# macros, which cannot be static.
STATIC = $(shell rustc -vV | sed -n 's/^host: //p')
static:
	RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols" ./deploy/release/reproducibly \
		cargo build --locked --release --target $(STATIC) --bin mainstay
	install -D -m 755 target/$(STATIC)/release/mainstay target/dist/mainstay
	TARGET=$(STATIC) ./deploy/release/embed target/dist/mainstay

# What a release is made of, besides the archive. docs/versions.md says what is reproducible, and how.
PARTS ?= image deb
dist:
	./deploy/release/reproducibly ./deploy/release/dist $(PARTS)

dist-check:
	./deploy/release/check $(PARTS)

# README's commands as a newcomer runs them (WHAT=test: also `make test`); takes minutes, and root.
WHAT ?= demo
bare-debian:
	./tests/bare-debian $(WHAT)

aarch64:
	./tests/aarch64
