package cli

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"
)

func TestParseSchedule(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 30, 0, 0, time.UTC)
	tests := []struct{ spec, next string }{
		{"0 */3 * * *", "2026-03-01T12:00:00Z"},
		{" 0  */3 * * * ", "2026-03-01T12:00:00Z"},
		{"@hourly", "2026-03-01T11:00:00Z"},
		{"@daily", "2026-03-02T00:00:00Z"},
		{"@every 90m", "2026-03-01T12:00:00Z"},
		{"@every  2s", "2026-03-01T10:30:02Z"},
		{"CRON_TZ=Asia/Tokyo 0 9 * * *", "2026-03-02T00:00:00Z"},
		{"TZ=Asia/Tokyo   0 9 * * *", "2026-03-02T00:00:00Z"},
		{"CRON_TZ=UTC @daily", "2026-03-02T00:00:00Z"},
		{"0 0 29 2 *", "2028-02-29T00:00:00Z"},
	}
	for _, tt := range tests {
		schedule, err := ParseSchedule(tt.spec, now)
		if err != nil {
			t.Errorf("%q: %v", tt.spec, err)
			continue
		}
		if got := schedule.Next(now).UTC().Format(time.RFC3339); got != tt.next {
			t.Errorf("%q fires at %s, want %s", tt.spec, got, tt.next)
		}
	}
}

// Without a zone the machine's own doesn't count.
func TestParseScheduleIsUTC(t *testing.T) {
	schedule, err := ParseSchedule("0 9 * * *", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if spec, ok := schedule.(*cron.SpecSchedule); !ok || spec.Location != time.UTC {
		t.Errorf("the schedule is %+v, want one in UTC", schedule)
	}
}

func TestParseScheduleRefused(t *testing.T) {
	for _, spec := range []string{
		"", "x", "* * * *", "* * * * * *", "60 * * * *", "*/0 * * * *", "0 0 31 2 *", "0 0 30 2 *",
		"CRON_TZ=Asia/Tokyo", "CRON_TZ=", "TZ=", "CRON_TZ= 0 * * * *", "CRON_TZ=Nowhere/Land 0 * * * *", "TZ=../../etc/passwd 0 * * * *",
		"@", "@never", "@every", "@every 0s", "@every -1h", "@every 100ms", "@every 1500ms", "@every x", "@every 3",
		"0 */3 * * * CRON_TZ=UTC",
	} {
		if _, err := ParseSchedule(spec, time.Now()); err == nil {
			t.Errorf("%q is accepted", spec)
		}
	}
}
