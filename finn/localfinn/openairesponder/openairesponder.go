// Package openairesponder lets a local Finn answer from any service that
// speaks the OpenAI chat completions API, with streaming. It is apart from
// localfinn so that only programs that want it link the OpenAI client. A
// [Responder] is safe for concurrent use, holds no state but its settings, and
// needs no closing.
package openairesponder

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"dixie/finn"
	"dixie/finn/localfinn"
)

// DefaultBaseURL is the service used when no other is named.
const DefaultBaseURL = "https://api.openai.com/v1"

// ErrConfig is wrapped by the errors of [New].
var ErrConfig = errors.New("openairesponder: invalid configuration")

// Config names the service and the model.
type Config struct {
	// BaseURL is the API's root, http or https, such as
	// http://127.0.0.1:11434/v1. Empty: [DefaultBaseURL].
	BaseURL string
	// APIKey is sent as bearer. Empty: the request carries no usable key, which
	// local services accept.
	APIKey string
	// Model is the model's name at the service. Required.
	Model string
	// System is put before each conversation. Empty: nothing is.
	System string
	// HTTPClient makes the calls. Nil: one that waits at most 60 seconds for the
	// answer to begin. It stays the caller's.
	HTTPClient *http.Client
	// MaxRetries is how often the client tries again before the answer has
	// begun. Negative: never. 0: twice.
	MaxRetries int
}

// Responder answers turns by streamed chat completions.
type Responder struct {
	completions openai.ChatCompletionService
	model       string
	system      string
}

var _ localfinn.Responder = (*Responder)(nil)

// New makes a Responder. It reads nothing from the environment and makes no
// call. Its errors wrap [ErrConfig].
func New(cfg Config) (*Responder, error) {
	if cfg.Model == "" {
		return nil, fmt.Errorf("%w: Model is required", ErrConfig)
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = DefaultBaseURL
	}
	u, err := url.Parse(cfg.BaseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%w: BaseURL is not an http or https URL without credentials", ErrConfig)
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 60 * time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   16,
		}}
	}
	key := cfg.APIKey
	if key == "" {
		key = "none" // The client insists on one.
	}
	retries := max(cfg.MaxRetries, 0)
	if cfg.MaxRetries == 0 {
		retries = 2
	}
	return &Responder{
		completions: openai.NewChatCompletionService(
			option.WithHTTPClient(cfg.HTTPClient),
			option.WithBaseURL(cfg.BaseURL),
			option.WithAPIKey(key),
			option.WithMaxRetries(retries),
		),
		model:  cfg.Model,
		system: cfg.System,
	}, nil
}

// Model returns the model's name.
func (r *Responder) Model() string { return r.model }

// Respond sends the conversation and passes the text on as it comes. Its error
// is an [*Error], or that of ctx.
func (r *Responder) Respond(ctx context.Context, turn localfinn.Turn, emit func(finn.Event)) error {
	stream := r.completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model:    r.model,
		Messages: r.messages(turn),
	})
	defer func() { _ = stream.Close() }()
	finished := false
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			if choice.Index != 0 {
				continue
			}
			if text := choice.Delta.Content + choice.Delta.Refusal; text != "" {
				emit(finn.Event{Kind: finn.TextDelta, Text: text})
			}
			finished = finished || choice.FinishReason != ""
		}
	}
	switch err := stream.Err(); {
	case ctx.Err() != nil:
		return fmt.Errorf("openairesponder: %w", ctx.Err())
	case err != nil:
		return newError(err)
	case !finished:
		return &Error{cause: errCutOff}
	}
	return nil
}

func (r *Responder) messages(turn localfinn.Turn) []openai.ChatCompletionMessageParamUnion {
	var out []openai.ChatCompletionMessageParamUnion
	if r.system != "" {
		out = append(out, openai.SystemMessage(r.system))
	}
	for _, m := range turn.History {
		if m.Role == localfinn.Assistant {
			out = append(out, openai.AssistantMessage(m.Text))
		} else {
			out = append(out, openai.UserMessage(m.Text))
		}
	}
	return append(out, openai.UserMessage(turn.Prompt))
}

var errCutOff = errors.New("openairesponder: the answer broke off")

// Error is a failed completion. Its text is a status at most: what the service
// writes may repeat the key or the prompt.
type Error struct {
	// Status is the HTTP status of the service, 0 without an answer or when the
	// answer failed on its way.
	Status int

	cause error
}

func newError(err error) *Error {
	if api, ok := errors.AsType[*openai.Error](err); ok {
		return &Error{Status: api.StatusCode, cause: err}
	}
	return &Error{cause: err}
}

// Error names the status.
func (e *Error) Error() string {
	if e.Status == 0 {
		return "openairesponder: the completion failed"
	}
	return fmt.Sprintf("openairesponder: the completion failed with HTTP %d", e.Status)
}

// Unwrap returns the cause, whose own text is not for logs.
func (e *Error) Unwrap() error { return e.cause }
