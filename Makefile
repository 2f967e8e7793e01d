# Short names for the commands of daily work. The gate itself is .ci/run.
.PHONY: run test e2e race lint fmt fuzz bench vuln ci image staging-up staging-down

version := $(shell sed -nE 's/^const Version = "(.*)"$$/\1/p' dixie.go)
revision := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
# What STAGING.md calls dc: a folder deploy/secrets brings its Compose file. Nothing else is set here, or a dc after a make
# would find other images and start everything anew.
staging := docker compose -f deploy/docker-compose.staging.yml$(if $(wildcard deploy/secrets/.), -f deploy/docker-compose.secrets.yml)

run: ## Start the server on loopback with nothing configured.
	go run ./examples/staging-server

test:
	go test ./...

e2e: ## The scenarios of a staging environment, against DIXIE_E2E_URL or, without it, a stack of processes.
	$(if $(DIXIE_E2E_URL),,DIXIE_TEST_REQUIRE=postgres,redis) go test ./e2e -count=1 -timeout=30m -v

race:
	.ci/run race

lint:
	.ci/run format vet tidy lint

fmt:
	golangci-lint fmt ./...

fuzz:
	.ci/run fuzz

bench:
	go test -run='^$$' -bench=. -benchmem ./...

vuln:
	.ci/run vuln

ci:
	.ci/run

image: ## Build dixie/dixie-bff and dixie/local-finn, tagged with the version.
	docker build -f deploy/Dockerfile --target dixie-bff --build-arg VERSION=$(version) --build-arg REVISION=$(revision) -t dixie/dixie-bff:$(version) .
	docker build -f deploy/Dockerfile --target local-finn --build-arg VERSION=$(version) --build-arg REVISION=$(revision) -t dixie/local-finn:$(version) .

# Random secrets for a staging environment of one's own; an existing file is left alone.
deploy/.env:
	@umask 077 && for name in POSTGRES_PASSWORD DIXIE_JWT_PRIVATE_KEY DIXIE_ADMIN_KEY FINN_AUTH_TOKEN; do \
		echo "$$name=$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" || exit 1; done >$@.new && mv $@.new $@
	@echo "made deploy/.env with random secrets; .env.example says what else can be set"

staging-up: deploy/.env ## Bring the staging environment up, to healthy.
	$(staging) up -d --wait

staging-down: ## Take it away, with its data.
	POSTGRES_PASSWORD=unused $(staging) --profile observability down -v
