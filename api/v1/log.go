package runnelv1

import "github.com/runnel/runnel/channel"

// NewLogReport converts.
func NewLogReport(r channel.LogReport) *VerifyLogResponse {
	return &VerifyLogResponse{Records: r.Records, Bytes: uint64(max(r.Bytes, 0)), Lanes: r.Lanes, Payments: r.Payments, Problems: r.Problems}
}

// Value converts back.
func (m *VerifyLogResponse) Value() channel.LogReport {
	return channel.LogReport{Records: m.Records, Bytes: int64(m.Bytes), Lanes: m.Lanes, Payments: m.Payments, Problems: m.Problems}
}
