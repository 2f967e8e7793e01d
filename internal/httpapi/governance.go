package httpapi

import (
	"net/http"
	"unicode/utf8"

	"dixie/fleet"
)

// resourceFleet is the one kind of resource that admission is about.
const resourceFleet = "fleet_task"

type budget struct {
	Limit     int64 `json:"limit"`
	Spent     int64 `json:"spent"`
	Remaining int64 `json:"remaining"`
}

func budgetOf(d fleet.Decision) budget {
	return budget{d.BudgetLimit, d.BudgetSpent, d.BudgetRemaining}
}

type admissionDecision struct {
	Decision      string `json:"decision"`
	DenialReason  string `json:"denial_reason,omitempty"`
	Tier          string `json:"tier"`
	Active        int    `json:"active"`
	Limit         int    `json:"limit"`
	Budget        budget `json:"budget"`
	EstimatedCost int64  `json:"estimated_cost"`
}

// postAdmission is what a spawn would be told now. Nothing is reserved, and a denial is a 200.
func (a *API) postAdmission(w http.ResponseWriter, r *http.Request) error {
	operator, err := callerWallet(r)
	if err != nil {
		return err
	}
	var body struct {
		ResourceType *string `json:"resource_type"`
		TaskType     *string `json:"taskType"`
		Description  string  `json:"description"`
	}
	if err := decodeOptionalJSON(r, &body); err != nil {
		return err
	}
	request := fleet.Request{
		Operator: operator, Tier: exchangeFrom(r.Context()).tier.Tier.String(), TaskType: "feature",
		DescriptionLength: utf8.RuneCountInString(body.Description),
	}
	switch {
	case body.ResourceType != nil && *body.ResourceType != resourceFleet:
		return invalid("resource_type must be %q", resourceFleet)
	case request.DescriptionLength > fleet.MaxDescription:
		return invalid("description must have at most %d characters", fleet.MaxDescription)
	case body.TaskType != nil:
		request.TaskType = *body.TaskType
	}
	d, err := a.cfg.Fleet.Preview(r.Context(), request)
	if err != nil {
		return err
	}
	answer := admissionDecision{
		Decision: "admit", Tier: d.Tier, Active: d.Active, Limit: d.Limit, Budget: budgetOf(d), EstimatedCost: d.CostMicroUSD,
	}
	if !d.Admit {
		answer.Decision, answer.DenialReason = "deny", d.Reason
	}
	return a.writeJSON(w, http.StatusOK, answer)
}
