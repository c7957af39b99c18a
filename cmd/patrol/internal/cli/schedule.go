package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// ParseSchedule reads a spec of cron: five fields or a descriptor, in UTC unless
// it begins with CRON_TZ=Zone. A spec that doesn't fire within five years of now
// is an error.
func ParseSchedule(spec string, now time.Time) (cron.Schedule, error) {
	zone, fields := "CRON_TZ=UTC", strings.Join(strings.Fields(spec), " ")
	if strings.HasPrefix(fields, "CRON_TZ=") || strings.HasPrefix(fields, "TZ=") {
		zone, fields, _ = strings.Cut(fields, " ")
		_, name, _ := strings.Cut(zone, "=")
		if name == "" || fields == "" { // on which cron panics
			return nil, errors.New("a time zone looks like CRON_TZ=Europe/Berlin, with the schedule after it")
		}
		if _, err := time.LoadLocation(name); err != nil {
			return nil, fmt.Errorf("the time zone %s isn't known here (a small container may lack tzdata)", name)
		}
	}
	if err := checkEvery(fields); err != nil {
		return nil, err
	}
	schedule, err := cron.ParseStandard(zone + " " + fields)
	if err != nil {
		return nil, fmt.Errorf("not a schedule: %w", err)
	}
	if schedule.Next(now).IsZero() {
		return nil, errors.New("it never fires")
	}
	return schedule, nil
}

// checkEvery refuses the intervals that cron rounds to something else.
func checkEvery(fields string) error {
	interval, ok := strings.CutPrefix(fields, "@every")
	if !ok {
		return nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(interval))
	if err != nil || d < time.Second || d%time.Second != 0 {
		return errors.New("@every needs a duration such as 90m, in whole seconds")
	}
	return nil
}
