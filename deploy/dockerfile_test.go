package deploy_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImagesOfTheDockerfile compares what decides what is in an image and what it runs as: every instruction but the
// labels and arguments.
func TestImagesOfTheDockerfile(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"source": {
			"FROM --platform=$BUILDPLATFORM golang:1.26-bookworm",
			"WORKDIR /src",
			`ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false -mod=readonly"`,
			"RUN mkdir -p /rootfs/etc/ssl/certs " +
				"&& cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ " +
				"&& echo 'nonroot:x:65532:65532:nonroot:/:/nologin' >/rootfs/etc/passwd " +
				"&& echo 'nonroot:x:65532:' >/rootfs/etc/group",
			"COPY . .",
			"ENV GOOS=$TARGETOS GOARCH=$TARGETARCH",
		},
		"build-server": {
			"FROM source",
			"RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build " +
				`go build -ldflags "-s -w -buildid= -X main.build=$VERSION" -o /out/staging-server ./examples/staging-server`,
		},
		"build-finn": {
			"FROM source",
			"RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build " +
				`go build -ldflags "-s -w -buildid=" -o /out/local-finn ./examples/local-finn`,
		},
		"local-finn-root": {
			"FROM scratch",
			"COPY --from=source /rootfs /",
			"USER 65532:65532", // By number: there may be nothing to look a name up in.
			"EXPOSE 3000",
			`HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/local-finn", "-healthcheck"]`,
			`ENTRYPOINT ["/usr/local/bin/local-finn"]`,
		},
		"local-finn": {"FROM local-finn-root", "COPY --from=build-finn /out/local-finn /usr/local/bin/local-finn"},
		// The user is that of the image: another Finn has its own.
		"finn": {"FROM ${FINN_IMAGE}", "COPY --from=build-finn /out/local-finn /usr/local/bin/local-finn"},
		"dixie-bff": {
			"FROM scratch",
			"COPY --from=source /rootfs /",
			"COPY --from=build-server /out/staging-server /usr/local/bin/staging-server",
			"USER 65532:65532",
			"EXPOSE 3001",
			`HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/local/bin/staging-server", "healthcheck"]`,
			`ENTRYPOINT ["/usr/local/bin/staging-server"]`,
		},
	}
	if diff := cmp.Diff(want, stages(t)); diff != "" {
		t.Error(diff)
	}
}

// stages are the stages of the Dockerfile by name, with their instructions, each on a line.
func stages(t *testing.T) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	stage, instruction := "", ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		instruction += strings.TrimSuffix(line, `\`)
		if strings.HasSuffix(line, `\`) {
			continue
		}
		words := strings.Fields(instruction)
		instruction = ""
		words[0] = strings.ToUpper(words[0])
		if words[0] == "FROM" {
			stage = "without a name"
			if at := len(words) - 2; at > 0 && strings.EqualFold(words[at], "AS") {
				stage, words = words[at+1], words[:at]
			}
		}
		if !slices.Contains([]string{"LABEL", "ARG"}, words[0]) {
			found[stage] = append(found[stage], strings.Join(words, " "))
		}
	}
	return found
}
