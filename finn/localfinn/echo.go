package localfinn

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dixie/finn"
)

// Bounds of [Echo].
const (
	// MaxEcho is how much of a prompt is repeated, in bytes.
	MaxEcho = 4096
	// MaxWords is how many words [[words N]] may ask for.
	MaxWords = 10_000
	// MaxSleep is how long the [[sleep D]] of one prompt may take in all.
	MaxSleep = 10 * time.Minute

	maxDirectives = 32
)

// ErrFailOnDemand is the failure that [[fail]] asks for.
var ErrFailOnDemand = errors.New("localfinn: the model fails, as the prompt asked")

// Echo is the built-in [Responder]. It answers "You said: " and the prompt
// without its directives, unchanged up to [MaxEcho] bytes, word by word. The
// zero value is ready for use.
type Echo struct {
	// WordDelay is the pause before each word. 0: none.
	WordDelay time.Duration
}

var _ Responder = Echo{}

// Model returns "echo".
func (Echo) Model() string { return "echo" }

// Respond answers turn.
func (e Echo) Respond(ctx context.Context, turn Turn, emit func(finn.Event)) error {
	script, text := parse(turn.Prompt)
	words := -1
	slept := time.Duration(0)
	for _, d := range script {
		switch d.name {
		case "sleep":
			pause := min(d.pause, MaxSleep-slept)
			slept += pause
			if err := wait(ctx, pause); err != nil {
				return err
			}
		case "tool":
			emit(finn.Event{Kind: finn.ToolStart, Tool: d.arg, Args: json.RawMessage(`{"source":"local-finn"}`)})
			emit(finn.Event{Kind: finn.ToolEnd, Tool: d.arg, Result: `{"ok":true}`})
		case "words":
			words = max(words, 0) + d.count
		case "fail":
			return ErrFailOnDemand
		}
	}
	return e.say(ctx, answer(text, words), emit)
}

func (e Echo) say(ctx context.Context, text string, emit func(finn.Event)) error {
	for text != "" {
		if err := wait(ctx, e.WordDelay); err != nil {
			return err
		}
		var word string
		word, text = nextWord(text)
		emit(finn.Event{Kind: finn.TextDelta, Text: word})
	}
	return nil
}

func answer(text string, words int) string {
	if words >= 0 {
		var b strings.Builder
		for i := range min(max(words, 1), MaxWords) {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString("word")
			b.WriteString(strconv.Itoa(i + 1))
		}
		return b.String()
	}
	if strings.TrimSpace(text) == "" {
		return "Done."
	}
	if len(text) > MaxEcho {
		cut := MaxEcho
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return "You said: " + text
}

// nextWord splits off the first word with the white space around it.
func nextWord(text string) (word, rest string) {
	seen, ended := false, false
	for i, r := range text {
		space := unicode.IsSpace(r)
		if ended && !space {
			return text[:i], text[i:]
		}
		seen = seen || !space
		ended = seen && space
	}
	return text, ""
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// directive is a command in a prompt.
type directive struct {
	name  string
	arg   string
	pause time.Duration
	count int
}

// directivePattern matches what may be a directive, with the blanks after it.
var directivePattern = regexp.MustCompile(`\[\[(sleep|tool|words|fail)(?: ([A-Za-z0-9_.-]{1,64}))?\]\][ \t]*`)

// parse takes the directives out of a prompt. A malformed one, or one beyond
// the bound, stays text. Without any, the text is the prompt as it was.
func parse(prompt string) ([]directive, string) {
	var script []directive
	var text strings.Builder
	at := 0
	for _, m := range directivePattern.FindAllStringSubmatchIndex(prompt, -1) {
		arg := ""
		if m[4] >= 0 {
			arg = prompt[m[4]:m[5]]
		}
		d, ok := newDirective(prompt[m[2]:m[3]], arg)
		if !ok || len(script) == maxDirectives {
			continue
		}
		script = append(script, d)
		text.WriteString(prompt[at:m[0]])
		at = m[1]
	}
	if len(script) == 0 {
		return nil, prompt
	}
	text.WriteString(prompt[at:])
	return script, strings.TrimSpace(text.String())
}

func newDirective(name, arg string) (directive, bool) {
	d := directive{name: name, arg: arg}
	switch name {
	case "sleep":
		pause, err := time.ParseDuration(arg)
		d.pause = min(pause, MaxSleep)
		return d, err == nil && pause >= 0
	case "tool":
		return d, arg != ""
	case "words":
		count, err := strconv.ParseUint(arg, 10, 31)
		d.count = int(min(count, MaxWords))
		return d, err == nil && count > 0
	default:
		return d, arg == ""
	}
}
