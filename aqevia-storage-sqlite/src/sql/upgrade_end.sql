DROP TABLE first_records
