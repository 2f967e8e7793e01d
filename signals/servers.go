package signals

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const defaultPort = "4222"

// parseServers checks the URLs of the servers and returns them in full. They may carry credentials, so
// its errors name them by their place in the list.
func parseServers(list string) (string, error) {
	if strings.TrimSpace(list) == "" {
		return "", errors.New("signals: URL is missing")
	}
	var servers []string
	var problems []error
	for i, raw := range strings.Split(list, ",") {
		server, problem := parseServer(strings.TrimSpace(raw))
		if problem != "" {
			problems = append(problems, fmt.Errorf("signals: URL: server %d %s", i+1, problem))
		}
		servers = append(servers, server)
	}
	return strings.Join(servers, ","), errors.Join(problems...)
}

func parseServer(raw string) (server, problem string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", "is not a URL"
	case u.Scheme != "nats" && u.Scheme != "tls":
		return "", "does not begin with nats:// or tls://"
	case u.Hostname() == "":
		return "", "names no host"
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", "has more than a host and a port"
	}
	port := cmp.Or(u.Port(), defaultPort)
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "has a port that is not within 1 and 65535"
	}
	u.Host, u.Path = net.JoinHostPort(u.Hostname(), port), ""
	return u.String(), ""
}
