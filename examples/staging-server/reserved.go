package main

// reservedVariables belong to modules that this version does not serve yet. They are read and checked, so
// that an environment that is right stays right when the modules come.
func reservedVariables() []variable {
	return []variable{
		{
			"DIXIE_MEMORY_PROJECTION_TTL", "integer seconds, at most 86400", "300",
			"Reserved for memory, not used yet: how long a projection is used again.",
		},
		{
			"DIXIE_MEMORY_MAX_EVENTS", "integer, at most 10000", "100",
			"Reserved for memory, not used yet: how many events a projection holds.",
		},
		{
			"DIXIE_PERSONALITY_TTL", "integer seconds, at most 86400", "1800",
			"Reserved for personality, not used yet: how long a personality is used again.",
		},
		{
			"DIXIE_AUTONOMOUS_PERMISSION_TTL", "integer seconds, at most 86400", "300",
			"Reserved for autonomous permissions, not used yet: how long they are used again.",
		},
		{
			"DIXIE_SCHEDULE_CALLBACK_SECRET", "text", "none: no callbacks",
			"Reserved for schedules, not used yet: the secret that callbacks are signed with.",
		},
	}
}

const (
	defaultMemoryEvents   = 100
	highestMemoryEvents   = 10_000
	defaultPersonalityTTL = 1800
)

// reserved reads them, and returns the numbers among them.
func (r *reader) reserved() map[string]int {
	if name := "DIXIE_SCHEDULE_CALLBACK_SECRET"; r.value(name) != "" {
		r.warnf("%s is set, and not used yet", name)
	}
	return map[string]int{
		"DIXIE_MEMORY_PROJECTION_TTL":     r.integer("DIXIE_MEMORY_PROJECTION_TTL", defaultTTL, longestTTL),
		"DIXIE_MEMORY_MAX_EVENTS":         r.integer("DIXIE_MEMORY_MAX_EVENTS", defaultMemoryEvents, highestMemoryEvents),
		"DIXIE_PERSONALITY_TTL":           r.integer("DIXIE_PERSONALITY_TTL", defaultPersonalityTTL, longestTTL),
		"DIXIE_AUTONOMOUS_PERMISSION_TTL": r.integer("DIXIE_AUTONOMOUS_PERMISSION_TTL", defaultTTL, longestTTL),
	}
}
