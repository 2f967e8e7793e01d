package httpapi

import (
	"net/http"

	"dixie/internal/auth"
)

func (a *API) getAllowlist(w http.ResponseWriter, _ *http.Request) error {
	noStore(w)
	return a.writeJSON(w, http.StatusOK, a.cfg.Allowlist.List())
}

type allowlistChange struct {
	OK   bool               `json:"ok"`
	Data auth.AllowlistData `json:"data"`
}

func (a *API) postAllowlist(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	if err := decodeJSON(r, &body); err != nil {
		return err
	}
	var kind auth.EntryKind
	switch body.Type {
	case "wallet":
		kind = auth.EntryWallet
	case "apiKey":
		kind = auth.EntryAPIKey
	default:
		return invalid(`type must be "wallet" or "apiKey"`)
	}
	data, err := a.cfg.Allowlist.Add(r.Context(), kind, body.Value)
	if err != nil {
		return err
	}
	noStore(w)
	return a.writeJSON(w, http.StatusCreated, allowlistChange{OK: true, Data: data})
}

func (a *API) deleteAllowlist(w http.ResponseWriter, r *http.Request) error {
	data, err := a.cfg.Allowlist.Remove(r.Context(), r.PathValue("entry"))
	if err != nil {
		return err
	}
	noStore(w)
	return a.writeJSON(w, http.StatusOK, allowlistChange{OK: true, Data: data})
}
