package database

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// The tables and columns of this version that the database does not have.
const (
	undefinedTable  = "42P01"
	undefinedColumn = "42703"
)

// Explain adds to an error that the schema is to blame, and what to do, if that is so; any other is returned as it is.
func Explain(err error) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || refused.Code != undefinedTable && refused.Code != undefinedColumn {
		return err
	}
	return fmt.Errorf("the schema is not that of this version: run Up of a migrate.Migrator: %w", err)
}
