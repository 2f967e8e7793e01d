package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"dixie/finn/localfinn/openairesponder"
)

// settings are the program's, from flags and the environment.
type settings struct {
	host, port     string
	token          string
	tokenSource    string // The variable that the token came from.
	wordDelay      time.Duration
	baseURL, model string
	apiKey         string
	healthcheck    bool
}

func parseSettings(args []string, getenv func(string) string, out io.Writer) (settings, error) {
	var s settings
	delay := getenv("FINN_WORD_DELAY")
	or := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	fs := flag.NewFlagSet("local-finn", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&s.port, "port", or("PORT", "3000"), "port to listen on (PORT)")
	fs.StringVar(&s.host, "host", getenv("HOST"), "address to listen on (HOST); loopback without a token, all with one")
	fs.StringVar(&s.token, "token", "", "what clients must present (FINN_AUTH_TOKEN, FINN_AUTH_TOKEN_FILE); none: open")
	fs.StringVar(&delay, "word-delay", delay, "pause before each word, such as 50ms (FINN_WORD_DELAY)")
	fs.StringVar(&s.model, "model", getenv("OPENAI_MODEL"), "answer with this model instead of repeating (OPENAI_MODEL)")
	fs.StringVar(&s.baseURL, "base-url", or("OPENAI_BASE_URL", openairesponder.DefaultBaseURL),
		"OpenAI-compatible API (OPENAI_BASE_URL); its key is OPENAI_API_KEY")
	fs.BoolVar(&s.healthcheck, "healthcheck", false, "ask a running local-finn for its health, and exit")
	if err := fs.Parse(args); err != nil {
		return settings{}, fmt.Errorf("flags: %w", err)
	}
	var problems []error
	s.tokenSource = valueVariable
	if s.token == "" && !s.healthcheck {
		// Not as the flag's default, which -help would print. The probe has no need of it.
		var err error
		if s.token, s.tokenSource, err = token(getenv); err != nil {
			problems = append(problems, err)
		}
	}
	s.apiKey = getenv("OPENAI_API_KEY")
	if fs.NArg() > 0 {
		problems = append(problems, fmt.Errorf("unknown argument %q", fs.Arg(0)))
	}
	if port, err := strconv.ParseUint(s.port, 10, 16); err != nil {
		problems = append(problems, fmt.Errorf("port %q is not one", s.port))
	} else {
		s.port = strconv.FormatUint(port, 10)
	}
	if delay != "" {
		d, err := time.ParseDuration(delay)
		if err != nil || d < 0 || d > time.Minute {
			problems = append(problems, fmt.Errorf("word delay %q is not a duration of up to a minute", delay))
		}
		s.wordDelay = d
	}
	if s.host == "" && s.token == "" {
		// Without a token everybody who reaches the port may prompt the model.
		s.host = "127.0.0.1"
	}
	return s, errors.Join(problems...)
}

// greeting says what runs and what to try.
func (s *settings) greeting(address string) string {
	var b strings.Builder
	answers := "repeats what it is told (set OPENAI_MODEL for a real model)"
	if s.model != "" {
		answers = fmt.Sprintf("answers with %s at %s", s.model, s.baseURL)
	}
	credential, header := "open: no token is asked for", ""
	if s.token != "" {
		credential = "asks for the token of " + s.tokenSource
		shown := "$" + s.tokenSource
		if s.tokenSource == fileVariable {
			shown = `$(cat "` + shown + `")`
		}
		header = ` -H "Authorization: Bearer ` + shown + `"`
	}
	fmt.Fprintf(&b, "local-finn listens on http://%s, %s, %s.\nTry:\n", address, answers, credential)
	fmt.Fprintf(&b, "  curl -s http://localhost:%s/health\n", portOf(address))
	fmt.Fprintf(&b, "  curl -s%s http://localhost:%s/api/sessions/demo/message -d '{\"text\":\"hello [[tool search]]\"}'\n",
		header, portOf(address))
	return b.String()
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
