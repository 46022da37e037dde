//! What is made of the record: a table, ratios beside goals, a CSV file, a chart. Nothing here measures or judges.

pub mod chart;
pub mod csv;
pub mod goals;
pub mod table;
