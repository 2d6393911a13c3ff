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

// NewPruneRequest converts.
func NewPruneRequest(r channel.PruneRequest) *PruneLogRequest {
	return &PruneLogRequest{Before: r.Before, BeforeHeight: r.Height, Archive: r.Archive, DryRun: r.DryRun}
}

// Value converts back.
func (m *PruneLogRequest) Value() channel.PruneRequest {
	return channel.PruneRequest{Before: m.Before, Height: m.BeforeHeight, Archive: m.Archive, DryRun: m.DryRun}
}

// NewPruneResult converts.
func NewPruneResult(r channel.PruneResult) *PruneLogResponse {
	return &PruneLogResponse{Lanes: r.Lanes, Payments: r.Payments, BytesBefore: uint64(max(r.BytesBefore, 0)), BytesAfter: uint64(max(r.BytesAfter, 0))}
}

// Value converts back.
func (m *PruneLogResponse) Value() channel.PruneResult {
	return channel.PruneResult{Lanes: m.Lanes, Payments: m.Payments, BytesBefore: int64(m.BytesBefore), BytesAfter: int64(m.BytesAfter)}
}
