package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The agent types.
const (
	ClaudeCode = "claude_code"
	Codex      = "codex"
	Gemini     = "gemini"
)

// Route is who does a kind of task when the request names no model.
type Route struct {
	AgentType string
	Model     string
}

// Catalog maps task types to routes. Its keys are the task types there are. It must not be changed once
// a [Service] has it.
type Catalog map[string]Route

// DefaultCatalog returns a new catalog with the five usual task types.
func DefaultCatalog() Catalog {
	return Catalog{
		"bug_fix":  {AgentType: ClaudeCode, Model: "claude-opus-4-6"},
		"feature":  {AgentType: ClaudeCode, Model: "claude-opus-4-6"},
		"refactor": {AgentType: Codex, Model: "codex-mini-latest"},
		"review":   {AgentType: Gemini, Model: "gemini-2.5-pro"},
		"docs":     {AgentType: ClaudeCode, Model: "claude-sonnet-4-5"},
	}
}

// TaskTypes returns the task types in alphabetical order.
func (c Catalog) TaskTypes() []string { return slices.Sorted(maps.Keys(c)) }

// validate refuses a catalog that could route nothing, or to nobody.
func (c Catalog) validate() error {
	if len(c) == 0 {
		return errors.New("fleet: the catalog has no task type")
	}
	for name, route := range c {
		if name == "" || route.AgentType == "" || route.Model == "" {
			return fmt.Errorf("fleet: the catalog's entry %q is not complete", name)
		}
	}
	return nil
}

const (
	routedByRequest  = "requested"
	routedByTaskType = "task_type"
)

// route picks model and agent type. A model that the request names is used by the agent type that its
// name tells; an agent type that the request names must agree.
func (c Catalog) route(taskType, agentType, model string) (Route, string, error) {
	picked, ok := c[taskType]
	if !ok {
		return Route{}, "", invalid("taskType must be one of %s", strings.Join(c.TaskTypes(), ", "))
	}
	reason := routedByTaskType
	if model != "" {
		picked, reason = Route{AgentType: agentTypeOf(model), Model: model}, routedByRequest
	}
	if agentType != "" && agentType != picked.AgentType {
		// The model may be the client's words, and those are quoted, so that traces leave them out.
		return Route{}, "", invalid("agentType does not agree with the model: %q is used by %s", picked.Model, picked.AgentType)
	}
	return picked, reason, nil
}

// agentTypeOf tells by a model's name which agent uses it.
func agentTypeOf(model string) string {
	name := strings.ToLower(model)
	switch {
	case strings.Contains(name, Codex):
		return Codex
	case strings.Contains(name, Gemini):
		return Gemini
	default:
		return ClaudeCode
	}
}
