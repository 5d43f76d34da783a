import { Column, CreateDateColumn, Entity, OneToMany, PrimaryColumn, UpdateDateColumn } from "typeorm";
import type { Recipe } from "../recipes/recipe.entity";

/** As it was before menshen, but for three things: `id` is given by menshen, `openid` may be null, and `session_key` is gone. */
@Entity("users")
export class User {
  @PrimaryColumn()
  id: number;

  @Column({ type: "varchar", length: 100, nullable: true, unique: true })
  openid: string | null;

  @Column({ length: 200, default: "" })
  bio: string;

  @CreateDateColumn({ name: "created_at" })
  createdAt: Date;

  @UpdateDateColumn({ name: "updated_at" })
  updatedAt: Date;

  @OneToMany("Recipe", "author")
  recipes: Recipe[];
}
