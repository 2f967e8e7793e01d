package spansanitizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// The event and the attributes under which an error is recorded. An event of another name, and every other
// attribute of it, is left out.
const (
	ExceptionEvent   = "exception"
	ExceptionType    = "exception.type"
	ExceptionMessage = "exception.message"
)

// panicked is what package fmt writes in the place of an error whose Error method panics, with what it panicked with.
const panicked = "(PANIC="

// TextOf returns the sanitised text of an error, see [ErrorText], whatever its Error method does: it may panic, as that
// of a nil pointer does, itself or within an error that wraps it. Of a nil error the text is empty.
func TextOf(err error) (text string) {
	if err == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = "the error has no text"
		}
	}()
	text, _, _ = strings.Cut(err.Error(), panicked)
	return ErrorText(text)
}

// maxChain bounds how many errors of a chain are unwrapped: an error may unwrap to itself.
const maxChain = 32

// errorType is the Go type of the error at the end of the chain, as far as its Unwrap methods can be called: those
// before it only add words.
func errorType(err error) (kind string) {
	defer func() {
		if recover() != nil {
			kind = typeText(fmt.Sprintf("%T", err))
		}
	}()
	for range maxChain {
		next := errors.Unwrap(err)
		if next == nil {
			break
		}
		err = next
	}
	return typeText(fmt.Sprintf("%T", err))
}

// typeText is the name of a Go type, or [Other].
func typeText(s string) string {
	if isMadeOf(s, "._*/[]") && !looksSensitive(s) {
		return s
	}
	return Other
}

// AppendEvent appends to dst what an event may carry, and tells whether it may leave at all: the record of an error
// may, with the error's type and its sanitised text.
func (p *Policy) AppendEvent(dst []attribute.KeyValue, span, event string, attrs []attribute.KeyValue) ([]attribute.KeyValue, bool) {
	if event != ExceptionEvent || listOf(span) == nil {
		return dst, false
	}
	dst = slices.Grow(dst, 2)
	var kind, message string
	for _, kv := range attrs {
		if kv.Value.Type() != attribute.STRING {
			continue
		}
		switch kv.Key {
		case ExceptionType:
			kind = typeText(kv.Value.AsString())
		case ExceptionMessage:
			message = ErrorText(kv.Value.AsString())
		}
	}
	if kind != "" {
		dst = append(dst, attribute.String(ExceptionType, kind))
	}
	if message != "" {
		dst = append(dst, attribute.String(ExceptionMessage, message))
	}
	return dst, true
}

// StatusText returns what the status of a span may say: the sanitised text, or nothing if the span is not known.
func (p *Policy) StatusText(span, text string) string {
	if text == "" || listOf(span) == nil {
		return ""
	}
	return ErrorText(text)
}
