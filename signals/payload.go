package signals

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dixie/fleet"
	"dixie/internal/chat"
)

const (
	interactionSubject = "dixie.signal.interaction"
	fleetPrefix        = "dixie.fleet."
	maxTypeLength      = 64
)

// timestamp is written in UTC with milliseconds, as the API writes it.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

type interactionSignal struct {
	Wallet    string `json:"wallet,omitempty"`
	SessionID string `json:"sessionId"`
	MessageID string `json:"messageId"`
	Timestamp string `json:"timestamp"`
}

func interactionBody(i chat.Interaction) ([]byte, error) {
	body, err := json.Marshal(interactionSignal{i.Wallet, i.SessionID, i.MessageID, timestamp(i.At)})
	if err != nil {
		return nil, fmt.Errorf("signals: encode: %w", err)
	}
	return body, nil
}

type fleetSignal struct {
	Type       string        `json:"type"`
	TaskID     string        `json:"taskId,omitempty"`
	OperatorID string        `json:"operatorId,omitempty"`
	Timestamp  string        `json:"timestamp"`
	Metadata   fleetMetadata `json:"metadata,omitzero"`
}

type fleetMetadata struct {
	TaskType      string `json:"taskType,omitempty"`
	AgentType     string `json:"agentType,omitempty"`
	Branch        string `json:"branch,omitempty"`
	Tier          string `json:"tier,omitempty"`
	Model         string `json:"model,omitempty"`
	RoutingReason string `json:"routingReason,omitempty"`
	Reason        string `json:"reason,omitempty"`
	RetryCount    int    `json:"retryCount,omitempty"`
}

func fleetBody(e fleet.Event) ([]byte, error) {
	body, err := json.Marshal(fleetSignal{
		Type: string(e.Type), TaskID: e.TaskID, OperatorID: e.Operator, Timestamp: timestamp(e.At),
		Metadata: fleetMetadata{
			TaskType: e.TaskType, AgentType: e.AgentType, Branch: e.Branch, Tier: e.Tier, Model: e.Model,
			RoutingReason: e.RoutingReason, Reason: e.Reason, RetryCount: e.RetryCount,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("signals: encode: %w", err)
	}
	return body, nil
}

// fleetSubject is the subject of a kind of event. A kind that is no word of capitals would be several
// subjects, or none.
func fleetSubject(kind fleet.EventType) (string, error) {
	isOther := func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') }
	if kind == "" || len(kind) > maxTypeLength || strings.ContainsFunc(string(kind), isOther) {
		return "", fmt.Errorf("%w: the event has no proper type", ErrRefused)
	}
	return fleetPrefix + strings.ToLower(string(kind)), nil
}
